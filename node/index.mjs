import millpond from './index.js'

export const { Lease, MillpondError, Pool, defaultPool, get, version } = millpond
export default millpond
