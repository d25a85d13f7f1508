// Gets what a peer needs, by package name and from the registries' own clients, and says so. Nothing
// is done twice. Everything lands in `bench/`, but for one empty folder that nginx insists on.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const HERE = fileURLToPath(new URL('..', import.meta.url))
export const ROOT = dirname(HERE.replace(/\/$/, ''))

/** Runs a command, its output on ours. */
function run(command, args, cwd) {
  execFileSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] })
}

const asRoot = (command, args, cwd) => (process.getuid() === 0 ? run(command, args, cwd) : run('sudo', [command, ...args], cwd))

/** `npm ci` in a folder, unless it was done since the lock file changed. No package's script runs. */
export function npmPackages(folder) {
  const cwd = join(HERE, folder)
  const done = join(cwd, 'node_modules/.package-lock.json')
  if (existsSync(done) && statSync(done).mtimeMs > statSync(join(cwd, 'package-lock.json')).mtimeMs) return {}
  console.log(`Installing the npm packages of bench/${folder}/package-lock.json.`)
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], cwd)
  return {}
}

/** A program inside an npm package whose name says the processor: the one that npm chose. */
export function npmBinary(folder, name, path) {
  const modules = join(HERE, folder, 'node_modules')
  const names = readdirSync(modules).flatMap((each) => (each.startsWith('@') ? readdirSync(join(modules, each)).map((inner) => `${each}/${inner}`) : [each]))
  const found = names.find((each) => name.test(each) && existsSync(join(modules, each, path)))
  return found && join(modules, found, path)
}

/** Builds a crate, release. */
export function cargoBinary(folder, binary) {
  const cwd = join(HERE, folder)
  run('cargo', ['build', '--quiet', '--locked', '--release', '--bin', binary], cwd)
  const { target_directory: target } = JSON.parse(execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], { cwd, encoding: 'utf8', maxBuffer: 1 << 26 }))
  return { binary: join(target, 'release', binary) }
}

/**
 * Downloads Debian packages and unpacks them into `bench/FOLDER/debian`, without installing them:
 * an installed nginx would at once serve on port 80. Returns each one's version.
 */
export function debianPackages(folder, packages) {
  const root = join(HERE, folder, 'debian')
  const stamp = join(root, 'versions.json')
  if (existsSync(stamp)) return JSON.parse(readFileSync(stamp, 'utf8'))
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  const names = Object.values(packages)
  console.log(`Unpacking Debian's ${names.join(' and ')} into bench/${folder}/debian.`)
  const download = () => run('apt-get', ['download', '-qq', ...names], root)
  try {
    download()
  } catch {
    asRoot('apt-get', ['update', '-qq'])
    download()
  }
  const versions = {}
  for (const [key, name] of Object.entries(packages)) {
    const file = readdirSync(root).find((each) => each.startsWith(`${name}_`))
    run('dpkg-deb', ['-x', file, '.'], root)
    versions[key] = execFileSync('dpkg-deb', ['-f', file, 'Version'], { cwd: root, encoding: 'utf8' }).trim()
  }
  writeFileSync(stamp, JSON.stringify(versions))
  return versions
}

/** The libraries that an unpacked program does not find are installed after all. */
export function librariesOf(program, packages) {
  const missing = execFileSync('ldd', [program], { encoding: 'utf8' }).match(/\S+(?= => not found)/g)
  if (missing) run(join(ROOT, 'scripts/apt-install.sh'), [missing.join(', '), ...packages])
}

/** A folder outside this one that a program wants to exist and to write to. */
export function folderOf(path) {
  if (existsSync(path)) return
  console.log(`Making ${path}, because the program insists on it.`)
  asRoot('install', ['-d', '-o', String(process.getuid()), path])
}
