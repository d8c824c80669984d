'use strict'

// Makes sure that there is an addon: prebuilt in the package, or built here with cargo.

const { spawnSync } = require('node:child_process')
const { cpSync, existsSync, mkdirSync, renameSync, rmSync } = require('node:fs')
const { basename, dirname, join } = require('node:path')
const { addonFiles } = require('../lib/binding')

const root = join(__dirname, '..')
const { prebuilt, built } = addonFiles()

function fail(message) {
  console.error(`millpond: ${message}`)
  process.exit(1)
}

/** Tells whether a prebuilt addon is there and loads here. */
function prebuiltWorks() {
  if (!existsSync(prebuilt)) return false
  try {
    require(prebuilt)
    return true
  } catch (error) {
    console.error(`millpond: the prebuilt addon ${basename(prebuilt)} does not load here (${error.message}); building one`)
    return false
  }
}

/** Returns the manifest of the Rust sources: the repository around us, or what the package carries. */
function manifest() {
  const checkout = join(root, '..', 'core', 'Cargo.toml')
  const own = join(root, 'Cargo.toml')
  if (existsSync(checkout) && existsSync(own)) return own
  const carried = join(root, 'rust', 'node', 'Cargo.toml')
  if (existsSync(carried)) return carried
  return fail('this copy of the package has no Rust sources. Install the folder itself, or the tarball of "npm pack"')
}

/** Builds the addon and returns where cargo left it. */
function build(path) {
  const version = spawnSync('cargo', ['--version'], { encoding: 'utf8' })
  if (version.error !== undefined || version.status !== 0) {
    fail(
      `there is no prebuilt addon for this platform (${basename(built)}), and cargo, which would build it, was not ` +
        'found. Install Rust (rust-lang.org has the instructions; the version is "rust-version" in Cargo.toml) and ' +
        'run the installation again',
    )
  }
  console.error(`millpond: building the addon with ${version.stdout.trim()}; this takes about a minute`)
  const args = ['build', '--release', '--manifest-path', path, '--message-format', 'json-render-diagnostics']
  const cargo = spawnSync('cargo', args, { encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'inherit'] })
  if (cargo.status !== 0) fail(`cargo could not build the addon (exit status ${cargo.status}); its messages are above`)
  for (const line of cargo.stdout.split('\n')) {
    if (!line.startsWith('{')) continue
    const message = JSON.parse(line)
    const ours = message.reason === 'compiler-artifact' && message.target.name === 'millpond_node'
    const library = ours && message.filenames.find((file) => /\.(so|dylib|dll)$/.test(file))
    if (library) return library
  }
  return fail('cargo built no addon; please report it')
}

if (!prebuiltWorks()) {
  const path = manifest()
  const library = build(path)
  mkdirSync(dirname(built), { recursive: true })
  // A process may have the old one loaded: replace the name, not the contents.
  cpSync(library, `${built}.new`)
  renameSync(`${built}.new`, built)
  // What cargo leaves behind is hundreds of megabytes, inside somebody's node_modules.
  const left = join(root, 'rust', 'target')
  if (library.startsWith(left)) rmSync(left, { recursive: true, force: true })
}
