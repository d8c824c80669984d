// Runs the README's examples as they stand: node readme.mjs FOLDER, where FOLDER has the package installed.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.argv[2]
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const examples = [...readme.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code)
if (examples.length === 0) throw new Error('README.md has no example')
for (const [index, code] of examples.entries()) {
  const path = join(folder, `readme-${index + 1}.mjs`)
  writeFileSync(path, code)
  const { status, stdout, stderr } = spawnSync(process.execPath, [path], { encoding: 'utf8', timeout: 60_000 })
  if (status !== 0 || stdout === '') throw new Error(`example ${index + 1} of README.md ended with ${status}: ${stdout}${stderr}`)
}
console.log(`readme ${process.version}: ${examples.length} examples run`)
