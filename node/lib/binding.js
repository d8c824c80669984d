'use strict'

// Loads the addon for this platform: prebuilt in the package, or built by scripts/install.js.

const { existsSync } = require('node:fs')
const { join } = require('node:path')

/** The addon's file name on this platform, as napi-rs names targets. */
function addonFile() {
  let target = `${process.platform}-${process.arch}`
  if (process.platform === 'linux') {
    const glibc = process.report.getReport().header.glibcVersionRuntime
    target += glibc === undefined ? '-musl' : '-gnu'
  } else if (process.platform === 'win32') {
    target += '-msvc'
  }
  return join(__dirname, '..', 'addon', `millpond.${target}.node`)
}

function load() {
  const file = addonFile()
  if (!existsSync(file)) {
    throw new Error(
      `millpond has no addon for this platform: ${file} does not exist. ` +
        'Build it with "npm rebuild millpond" (needs cargo, see the README)',
    )
  }
  return require(file)
}

module.exports = { addonFile, load }
