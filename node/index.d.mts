import millpond from './index.js'

export * from './index.js'
export default millpond
