'use strict'
// amqplib: promises, confirms, and what its channels emit.

const assert = require('node:assert')
const amqp = require('amqplib')
const { add, rejects, restartServer, unique, waitFor, within } = require('./casebook')

const URL = `amqp://guest:guest@${process.env.AMQP}/`

async function withChannel (body, kind = 'createChannel') {
  const connection = await amqp.connect(URL)
  connection.on('error', () => {})
  const channel = await connection[kind]()
  channel.on('error', () => {})
  try {
    await body(channel, connection)
  } finally {
    await connection.close().catch(() => {})
  }
}

async function privateQueue (channel, options = {}) {
  return (await channel.assertQueue(unique('q'), { exclusive: true, ...options })).queue
}

async function get (channel, queue, options = { noAck: true }) {
  return waitFor(() => channel.get(queue, options), `a message in ${queue}`)
}

add('published_message_is_got', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  channel.sendToQueue(queue, Buffer.from([0, 255, 1]))
  const message = await get(channel, queue)
  assert.deepStrictEqual([...message.content], [0, 255, 1])
  assert.strictEqual(message.fields.redelivered, false)
}))

add('wrong_password_is_refused', async () => {
  const error = await rejects(amqp.connect(URL.replace(':guest@', ':wrong@')))
  assert.match(error.message, /403|ACCESS_REFUSED/)
})

add('unknown_vhost_is_refused', async () => {
  const error = await rejects(amqp.connect(URL + 'no-such'))
  assert.match(error.message, /NOT.ALLOWED|530|Expected ConnectionOpenOk/)
})

add('properties_and_headers_come_back', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  const headers = { int: 1, neg: -1, big: 2 ** 40, double: 1.5, text: 'żółć', yes: true, none: null, list: [1, 'a', [null]], table: { a: { b: 'c' } }, bytes: Buffer.from([0, 255]) }
  const options = { headers, contentType: 'a/b', contentEncoding: 'x', deliveryMode: 2, priority: 5, correlationId: 'c', replyTo: 'r', expiration: '600000', messageId: 'm', timestamp: 1700000000, type: 't', userId: 'guest', appId: 'a' }
  channel.sendToQueue(queue, Buffer.alloc(0), options)
  const { properties, content } = await get(channel, queue)
  assert.strictEqual(content.length, 0)
  for (const key of Object.keys(options)) assert.deepStrictEqual(properties[key], options[key], key)
}))

add('types_that_must_be_named_come_back', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  const headers = { byte: { '!': 'int8', value: -3 }, short: { '!': 'int16', value: 300 }, float: { '!': 'float', value: 0.5 }, when: { '!': 'timestamp', value: 1700000000 }, decimal: { '!': 'decimal', value: { digits: 1234, places: 2 } } }
  channel.sendToQueue(queue, Buffer.from('x'), { headers })
  const found = (await get(channel, queue)).properties.headers
  assert.deepStrictEqual([found.byte, found.short, found.float], [-3, 300, 0.5])
  assert.deepStrictEqual(found.when, { '!': 'timestamp', value: 1700000000 })
  assert.deepStrictEqual(found.decimal, { '!': 'decimal', value: { digits: 1234, places: 2 } })
}))

add('confirm_channel_confirms_each', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  for (let number = 0; number < 500; number++) channel.sendToQueue(queue, Buffer.from(`${number}`), { persistent: true })
  await within(channel.waitForConfirms(), 'all confirms')
  assert.strictEqual((await channel.checkQueue(queue)).messageCount, 500)
}, 'createConfirmChannel'))

add('mandatory_message_without_a_queue_is_returned', () => withChannel(async channel => {
  const returned = new Promise(resolve => channel.once('return', resolve))
  channel.publish('', unique('missing'), Buffer.from('x'), { mandatory: true })
  const message = await within(returned, 'the return')
  assert.deepStrictEqual([message.fields.replyCode, message.fields.replyText, `${message.content}`], [312, 'NO_ROUTE', 'x'])
}))

add('prefetch_holds_deliveries_back', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  await channel.prefetch(3)
  for (let number = 0; number < 10; number++) channel.sendToQueue(queue, Buffer.from(`${number}`))
  const seen = []
  await channel.consume(queue, message => seen.push(message))
  await waitFor(() => seen.length === 3, 'three deliveries')
  await channel.checkQueue(queue)
  assert.strictEqual(seen.length, 3)
  for (let number = 0; number < 10; number++) {
    await waitFor(() => seen.length > number, 'the next delivery')
    channel.ack(seen[number])
  }
  assert.deepStrictEqual(seen.map(message => Number(message.content)), [...Array(10).keys()])
}))

add('acknowledged_up_to_is_gone_and_the_rest_returns', () => withChannel(async (channel, connection) => {
  const queue = await privateQueue(channel)
  for (const text of ['a', 'b', 'c']) channel.sendToQueue(queue, Buffer.from(text))
  const other = await connection.createChannel()
  const seen = []
  await other.consume(queue, message => seen.push(message))
  await waitFor(() => seen.length === 3, 'three deliveries')
  other.ack(seen[1], true)
  await other.close()
  const left = await get(channel, queue)
  assert.deepStrictEqual([`${left.content}`, left.fields.redelivered], ['c', true])
  assert.strictEqual(await channel.get(queue), false)
}))

add('nack_requeues_and_reject_drops', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  channel.sendToQueue(queue, Buffer.from('x'))
  const first = await get(channel, queue, {})
  channel.nack(first)
  const second = await get(channel, queue, {})
  assert.strictEqual(second.fields.redelivered, true)
  channel.reject(second, false)
  assert.strictEqual(await channel.get(queue), false)
}))

add('recover_gives_again', () => withChannel(async channel => {
  const queue = await privateQueue(channel)
  channel.sendToQueue(queue, Buffer.from('x'))
  await get(channel, queue, {})
  await channel.recover()
  assert.strictEqual((await get(channel, queue)).fields.redelivered, true)
}))

add('missing_queue_closes_the_channel_with_404', () => withChannel(async (channel, connection) => {
  const error = await rejects(channel.checkQueue(unique('missing')))
  assert.strictEqual(error.code, 404)
  // queue.declare is method 10 of class 50.
  assert.deepStrictEqual([error.classId, error.methodId], [50, 10])
  const fresh = await connection.createChannel()
  await privateQueue(fresh)
}))

add('publish_to_a_missing_exchange_closes_the_channel', () => withChannel(async channel => {
  channel.removeAllListeners('error')
  const failed = new Promise(resolve => channel.once('error', resolve))
  channel.publish(unique('missing'), 'k', Buffer.from('x'))
  const error = await within(failed, 'the channel error')
  assert.deepStrictEqual([error.code, error.classId, error.methodId], [404, 60, 40])
}))

add('other_arguments_are_406', () => withChannel(async (channel, connection) => {
  const queue = await privateQueue(channel, { maxLength: 5 })
  const other = await connection.createChannel()
  other.on('error', () => {})
  const error = await rejects(other.assertQueue(queue, { exclusive: true, maxLength: 6 }))
  assert.strictEqual(error.code, 406)
  assert.match(error.message, /inequivalent arg 'x-max-length'/)
}))

add('consumer_gets_null_when_its_queue_is_deleted', () => withChannel(async (channel, connection) => {
  const queue = await privateQueue(channel)
  const told = new Promise(resolve => channel.consume(queue, resolve))
  const other = await connection.createChannel()
  await channel.checkQueue(queue)
  await other.deleteQueue(queue)
  assert.strictEqual(await within(told, 'the cancellation'), null)
}))

add('exchanges_route_and_are_bound_to_each_other', () => withChannel(async channel => {
  const [topic, headers] = [unique('topic'), unique('headers')]
  await channel.assertExchange(topic, 'topic', { durable: false, autoDelete: true })
  await channel.assertExchange(headers, 'headers', { durable: false, autoDelete: true })
  const queue = await privateQueue(channel)
  await channel.bindExchange(headers, topic, 'a.#')
  await channel.bindQueue(queue, headers, '', { 'x-match': 'all', kind: 'good' })
  channel.publish(topic, 'a.b', Buffer.from('yes'), { headers: { kind: 'good' } })
  channel.publish(topic, 'a.b', Buffer.from('no'), { headers: { kind: 'bad' } })
  channel.publish(topic, 'b', Buffer.from('no'), { headers: { kind: 'good' } })
  assert.strictEqual(`${(await get(channel, queue)).content}`, 'yes')
  assert.strictEqual(await channel.get(queue), false)
}))

add('direct_reply_answers_a_request', () => withChannel(async (channel, connection) => {
  const queue = await privateQueue(channel)
  const server = await connection.createChannel()
  await server.consume(queue, message => server.sendToQueue(message.properties.replyTo,
    Buffer.from(`${message.content}!`), { correlationId: message.properties.correlationId }), { noAck: true })
  const answer = new Promise(resolve => channel.consume('amq.rabbitmq.reply-to', resolve, { noAck: true }))
  await channel.checkQueue(queue)
  channel.sendToQueue(queue, Buffer.from('hello'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' })
  const message = await within(answer, 'the answer')
  assert.deepStrictEqual([`${message.content}`, message.properties.correlationId], ['hello!', '7'])
}))

for (const bytes of [1 << 20, 10 << 20]) {
  add(`body_of_${bytes}_bytes_comes_back`, () => withChannel(async channel => {
    const queue = await privateQueue(channel)
    const body = Buffer.alloc(bytes, 'pattern ')
    channel.sendToQueue(queue, body)
    assert(body.equals((await get(channel, queue)).content))
  }))
}

add('server_named_queue_and_counts', () => withChannel(async channel => {
  const { queue } = await channel.assertQueue('', { exclusive: true })
  assert.match(queue, /^amq\.gen-/)
  for (const text of ['1', '2']) channel.sendToQueue(queue, Buffer.from(text))
  await waitFor(async () => (await channel.checkQueue(queue)).messageCount === 2, 'two messages')
  assert.strictEqual((await channel.purgeQueue(queue)).messageCount, 2)
  assert.strictEqual((await channel.deleteQueue(queue)).messageCount, 0)
}))

add('time_to_live_and_length_are_kept', () => withChannel(async channel => {
  const queue = await privateQueue(channel, { messageTtl: 200, maxLength: 2 })
  for (const text of ['1', '2', '3']) channel.sendToQueue(queue, Buffer.from(text))
  assert.strictEqual(`${(await get(channel, queue)).content}`, '2')
  await waitFor(async () => (await channel.checkQueue(queue)).messageCount === 0, 'the end of the rest')
}))

add('heartbeats_keep_an_idle_connection', async () => {
  const connection = await amqp.connect(URL + '?heartbeat=1')
  let closed = false
  connection.on('close', () => { closed = true })
  connection.on('error', () => { closed = true })
  const channel = await connection.createChannel()
  // Three silent intervals: without heartbeats both sides would have given up.
  await new Promise(resolve => setTimeout(resolve, 3500))
  await channel.checkExchange('amq.direct')
  assert.strictEqual(closed, false)
  await connection.close()
})

add('durable_message_is_there_after_a_restart', async () => {
  const queue = unique('restart')
  const connection = await amqp.connect(URL)
  connection.on('error', () => {})
  const lost = new Promise(resolve => connection.once('close', resolve))
  const channel = await connection.createConfirmChannel()
  channel.on('error', () => {})
  await channel.assertQueue(queue, { durable: true })
  channel.sendToQueue(queue, Buffer.from('kept'), { persistent: true })
  await channel.waitForConfirms()
  await restartServer()
  await within(lost, 'the old connection is told')
  await withChannel(async channel => {
    assert.strictEqual(`${(await get(channel, queue)).content}`, 'kept')
    await channel.deleteQueue(queue)
  })
}, { restart: true })
