'use strict'
// Runs the cases of one Node client: `run_cases.js CLIENT [--list] [--restart] [--only TEXT]`.

const { run } = require('./casebook')

const client = process.argv[2]
const only = process.argv.indexOf('--only')
require(`./${client}_cases`)
run(client, require('./package.json').dependencies[client], {
  list: process.argv.includes('--list'),
  restart: process.argv.includes('--restart'),
  only: only < 0 ? '' : process.argv[only + 1]
}).then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
// A client's stray rejection must not end the cases after it.
process.on('unhandledRejection', error => console.error('unhandled', error))
