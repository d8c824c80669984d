'use strict'

// Copies the Rust sources into the package before "npm pack", as a workspace of their own in rust/, and removes the
// copy afterwards: a tarball has to build without the repository around it.

const { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs')
const { basename, join } = require('node:path')

const root = join(__dirname, '..')
const repository = join(root, '..')
const staged = join(root, 'rust')

rmSync(staged, { recursive: true, force: true })
rmSync(join(root, 'LICENSE'), { force: true })
if (!process.argv.includes('--remove')) {
  mkdirSync(join(staged, 'node'), { recursive: true })
  const top = readFileSync(join(repository, 'Cargo.toml'), 'utf8')
  const own = top.replace(/^members = .*$/m, 'members = ["core", "node"]')
  if (own === top) throw new Error('Cargo.toml of the repository has no line "members = […]"')
  writeFileSync(join(staged, 'Cargo.toml'), own)
  cpSync(join(repository, 'Cargo.lock'), join(staged, 'Cargo.lock'))
  const filter = (from) => !['target', 'node_modules', 'fuzz'].includes(basename(from))
  cpSync(join(repository, 'core'), join(staged, 'core'), { recursive: true, filter })
  for (const name of ['Cargo.toml', 'build.rs', 'src']) {
    cpSync(join(root, name), join(staged, 'node', name), { recursive: true })
  }
  cpSync(join(repository, 'LICENSE'), join(root, 'LICENSE'))
}
