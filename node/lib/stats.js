'use strict'

// Statistics and live leases as plain objects.

const { native } = require('./native')

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
const [FIELDS, CLASS_FIELDS] = native.fields().map((names) => names.map(camel))

function named(names, values, from) {
  const object = {}
  for (let index = 0; index < names.length; index++) object[names[index]] = values[from + index]
  return object
}

/** Returns a pool's statistics at this moment. */
function readStats(station) {
  const values = native.stats(station.number)
  const stats = named(FIELDS, values, 0)
  stats.classes = []
  for (let from = FIELDS.length; from < values.length; from += CLASS_FIELDS.length) {
    stats.classes.push(named(CLASS_FIELDS, values, from))
  }
  return stats
}

/** Returns the leases that are out, oldest first. */
function readLeaks(station) {
  return native
    .leaks(station.number)
    .map(([length, capacity, age, site, thread]) => ({ length, capacity, age, site, thread }))
}

module.exports = { readStats, readLeaks }
