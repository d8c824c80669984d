import millpond from './index.js'

export const { Lease, MillpondError, Pool, defaultPool, get, reportFaults, version } = millpond
export default millpond
