'use strict'
// Collects cases, runs each under a deadline, and prints what came of it as JSON lines.

const assert = require('node:assert')
const crypto = require('node:crypto')
const net = require('node:net')

const CASE_MS_MAX = 60_000
const RESTART_MS_MAX = 180_000
const WAIT_MS_MAX = 20_000

const cases = []

function add (name, body, options = {}) {
  cases.push({ name, body, restart: options.restart === true })
}

function unique (name) {
  return `${name}-${crypto.randomBytes(5).toString('hex')}`
}

function pause (ms) {
  return new Promise(resolve => setTimeout(resolve, ms))
}

async function waitFor (fact, what, ms = WAIT_MS_MAX) {
  const deadline = Date.now() + ms
  for (;;) {
    const found = await fact()
    if (found) return found
    assert(Date.now() < deadline, `not within ${ms} ms: ${what}`)
    await pause(20)
  }
}

async function within (promise, what, ms = WAIT_MS_MAX) {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

async function rejects (promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was refused')
}

function restartServer () {
  const [host, port] = process.env.CONTROL.split(':')
  return new Promise((resolve, reject) => {
    let answer = ''
    const control = net.connect(Number(port), host, () => control.write('restart\n'))
    control.on('data', data => { answer += data })
    control.on('error', reject)
    control.on('end', () => answer.trim() === 'ok' ? resolve() : reject(new Error(answer)))
  })
}

function say (fields) {
  process.stdout.write(JSON.stringify(fields) + '\n')
}

async function run (client, version, options) {
  say({ client, version })
  for (const { name, body, restart } of cases) {
    if (restart !== options.restart || !name.includes(options.only)) continue
    if (options.list) {
      say({ case: name })
      continue
    }
    const began = Date.now()
    let result = 'passed'
    let detail = ''
    try {
      await within(body(), 'the end of the case', restart ? RESTART_MS_MAX : CASE_MS_MAX)
    } catch (error) {
      result = 'failed'
      detail = String(error && error.stack ? error.stack : error)
    }
    say({ case: name, result, seconds: (Date.now() - began) / 1000, detail })
  }
}

module.exports = { add, rejects, restartServer, run, unique, waitFor, within }
