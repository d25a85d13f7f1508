// node table.mjs [--write]: the table of docs/proxies.md, made from expected.json.

import { table, write } from './page.mjs'

if (process.argv.includes('--write')) write()
else console.log(table())
