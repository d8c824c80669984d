'use strict'

// Finds and loads the addon for this platform: prebuilt in the package, or built by scripts/install.js.

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { version } = require('../package.json')

/** The places where this platform's addon may be, under the name that napi-rs gives the target. */
function addonFiles() {
  let target = `${process.platform}-${process.arch}`
  if (process.platform === 'linux') {
    const glibc = process.report.getReport().header.glibcVersionRuntime
    target += glibc === undefined ? '-musl' : '-gnu'
  }
  const file = `millpond.${target}.node`
  const root = join(__dirname, '..')
  return { prebuilt: join(root, 'prebuilt', file), built: join(root, 'addon', file) }
}

function load() {
  const { prebuilt, built } = addonFiles()
  // One that was built here is there because the prebuilt one did not load, or because somebody works on it.
  const file = existsSync(built) ? built : prebuilt
  if (!existsSync(file)) {
    throw new Error(
      `millpond has no addon for this platform: neither ${built} nor ${prebuilt} exists. ` +
        'Run "npm rebuild millpond"; it builds one with cargo',
    )
  }
  const native = require(file)
  if (native.version() !== version) {
    throw new Error(
      `millpond ${version} found an addon of version ${native.version()}: ${file}. Run "npm rebuild millpond"`,
    )
  }
  return native
}

module.exports = { addonFiles, load }
