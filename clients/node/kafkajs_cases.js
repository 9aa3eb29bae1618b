'use strict'
// KafkaJS: it speaks the oldest versions that are still in use.

const assert = require('node:assert')
const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel, Partitioners } = require('kafkajs')
const { add, rejects, restartServer, unique, waitFor } = require('./casebook')

const kafka = new Kafka({ brokers: [process.env.KAFKA], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 } })

async function withAdmin (body) {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await body(admin)
  } finally {
    await admin.disconnect()
  }
}

async function topic (name, numPartitions = 1, configEntries = []) {
  name = unique(name)
  await withAdmin(admin => admin.createTopics({ topics: [{ topic: name, numPartitions, configEntries }] }))
  return name
}

async function send (topic, messages, options = {}, producerOptions = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...producerOptions })
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...options })
  } finally {
    await producer.disconnect()
  }
}

async function subscribed (topics, options = {}) {
  const seen = []
  const consumer = kafka.consumer({ groupId: unique('group'), maxWaitTimeInMs: 100, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10_000, ...options })
  let assigned = null
  consumer.on(consumer.events.GROUP_JOIN, event => { assigned = event.payload.memberAssignment })
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => { seen.push({ partition, ...message }) } })
  return { consumer, seen, assigned: () => assigned, close: () => consumer.disconnect() }
}

async function read (topic, count, options) {
  const reader = await subscribed([topic], options)
  try {
    await waitFor(() => reader.seen.length >= count, `${count} records`)
    return reader.seen
  } finally {
    await reader.close()
  }
}

function places (member) {
  const found = member.assigned()
  return found ? Object.values(found).flat() : []
}

add('record_keeps_key_value_headers_and_timestamp', async () => {
  const name = await topic('record')
  // KafkaJS takes an array for a repeated header.
  await send(name, [{ key: Buffer.from([0, 107]), value: Buffer.from([255, 118]), headers: { a: ['1', '2'], b: Buffer.from([0, 255]) }, timestamp: '1600000000123' }])
  const [record] = await read(name, 1)
  assert.deepStrictEqual([[...record.key], [...record.value]], [[0, 107], [255, 118]])
  assert.deepStrictEqual(record.headers.a.map(String), ['1', '2'])
  assert.deepStrictEqual([...record.headers.b], [0, 255])
  assert.deepStrictEqual([record.timestamp, record.offset], ['1600000000123', '0'])
})

add('null_and_empty_values_stay_distinct', async () => {
  const name = await topic('nulls')
  await send(name, [{ key: 'k', value: null }, { key: 'k', value: '' }, { key: null, value: 'v' }])
  const found = await read(name, 3)
  assert.deepStrictEqual(found.map(record => [record.key, record.value].map(part => part === null ? null : `${part}`)), [['k', null], ['k', ''], [null, 'v']])
})

for (const [codec, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP]]) {
  add(`batch_comes_back[${codec}]`, async () => {
    const name = await topic('codec')
    const texts = Array.from({ length: 300 }, (_, number) => `${codec} ${number}`)
    await send(name, texts.map(value => ({ value })), { compression })
    assert.deepStrictEqual((await read(name, 300)).map(record => `${record.value}`), texts)
  })
}

for (const acks of [0, 1, -1]) {
  add(`produced_with_acks_is_readable[${acks}]`, async () => {
    const name = await topic('acks')
    await send(name, [{ value: 'a' }, { value: 'b' }], { acks })
    assert.deepStrictEqual((await read(name, 2)).map(record => `${record.value}`), ['a', 'b'])
  })
}

add('idempotent_producer_keeps_order', async () => {
  const name = await topic('idempotent')
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let number = 0; number < 50; number++) await producer.send({ topic: name, messages: [{ value: `${number}` }] })
  await producer.disconnect()
  assert.deepStrictEqual((await read(name, 50)).map(record => Number(record.value)), [...Array(50).keys()])
})

add('producing_creates_the_topic', async () => {
  const name = unique('auto')
  await send(name, [{ value: 'v' }])
  assert.strictEqual(`${(await read(name, 1))[0].value}`, 'v')
})

add('two_members_share_and_hand_over', async () => {
  const name = await topic('share', 4)
  const groupId = unique('group')
  const first = await subscribed([name], { groupId })
  await waitFor(() => places(first).length === 4, 'the first has all')
  const second = await subscribed([name], { groupId })
  await waitFor(() => places(first).length === 2 && places(second).length === 2, 'each has half')
  assert.deepStrictEqual([...places(first), ...places(second)].sort(), [0, 1, 2, 3])
  const described = await withAdmin(admin => admin.describeGroups([groupId]))
  assert.deepStrictEqual([described.groups[0].state, described.groups[0].members.length], ['Stable', 2])
  await second.close()
  await waitFor(() => places(first).length === 4, 'the rest has all')
  await first.close()
})

add('group_resumes_at_its_commit', async () => {
  const name = await topic('resume')
  const groupId = unique('group')
  await send(name, Array.from({ length: 10 }, (_, number) => ({ value: `${number}`, partition: 0 })))
  await withAdmin(admin => admin.setOffsets({ groupId, topic: name, partitions: [{ partition: 0, offset: '6' }] }))
  assert.deepStrictEqual((await read(name, 4, { groupId })).map(record => record.offset), ['6', '7', '8', '9'])
  const found = await withAdmin(admin => admin.fetchOffsets({ groupId, topics: [name] }))
  assert.strictEqual(found[0].partitions[0].offset, '10')
})

add('seek_lands_inside_a_batch', async () => {
  const name = await topic('seek')
  await send(name, Array.from({ length: 100 }, (_, number) => ({ value: `${number}` })))
  const reader = await subscribed([name])
  await waitFor(() => reader.seen.length >= 100, 'all records')
  reader.seen.length = 0
  reader.consumer.seek({ topic: name, partition: 0, offset: '57' })
  await waitFor(() => reader.seen.length >= 43, 'the rest again')
  assert.strictEqual(reader.seen[0].offset, '57')
  await reader.close()
})

add('admin_knows_offsets_by_end_and_time', async () => {
  const name = await topic('offsets')
  for (let number = 0; number < 3; number++) await send(name, [{ value: 'v', timestamp: `${1700000000000 + number * 1000}` }])
  await withAdmin(async admin => {
    assert.deepStrictEqual(await admin.fetchTopicOffsets(name), [{ partition: 0, offset: '3', high: '3', low: '0' }])
    assert.deepStrictEqual(await admin.fetchTopicOffsetsByTimestamp(name, 1700000000500), [{ partition: 0, offset: '1' }])
    await admin.deleteTopicRecords({ topic: name, partitions: [{ partition: 0, offset: '2' }] })
    assert.strictEqual((await admin.fetchTopicOffsets(name))[0].low, '2')
  })
})

add('topics_are_grown_configured_and_deleted', () => withAdmin(async admin => {
  const name = await topic('admin', 1, [{ name: 'retention.ms', value: '77000' }])
  await admin.createPartitions({ topicPartitions: [{ topic: name, count: 3 }] })
  await waitFor(async () => (await admin.fetchTopicMetadata({ topics: [name] })).topics[0].partitions.length === 3, 'three partitions')
  const described = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name, configNames: ['retention.ms'] }] })
  assert.strictEqual(described.resources[0].configEntries[0].configValue, '77000')
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: 'retention.ms', value: '88000' }] }] })
  await admin.deleteTopics({ topics: [name] })
  await waitFor(async () => !(await admin.listTopics()).includes(name), 'the end of the topic')
}))

add('groups_are_listed_and_deleted', () => withAdmin(async admin => {
  const name = await topic('groups')
  const groupId = unique('group')
  await admin.setOffsets({ groupId, topic: name, partitions: [{ partition: 0, offset: '0' }] })
  assert((await admin.listGroups()).groups.some(group => group.groupId === groupId))
  await admin.deleteGroups([groupId])
  assert(!(await admin.listGroups()).groups.some(group => group.groupId === groupId))
}))

add('cluster_is_described', () => withAdmin(async admin => {
  const cluster = await admin.describeCluster()
  assert.deepStrictEqual(cluster.brokers.map(broker => `${broker.host}:${broker.port}`), [process.env.KAFKA])
}))

add('too_large_record_is_refused', async () => {
  const name = await topic('too-large', 1, [{ name: 'max.message.bytes', value: '10000' }])
  const error = await rejects(send(name, [{ value: Buffer.alloc(50_000, 'x') }]))
  assert.match(`${error.type} ${error.message}`, /MESSAGE_TOO_LARGE|larger than the max/)
})

add('clients_come_back_after_a_restart', async () => {
  const name = await topic('restart')
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic: name, messages: [{ value: 'before' }] })
  const reader = await subscribed([name])
  await waitFor(() => reader.seen.length === 1, 'the first record')
  await restartServer()
  await waitFor(() => producer.send({ topic: name, messages: [{ value: 'after' }] }).then(() => true, () => false), 'a send after the restart', 60_000)
  await waitFor(() => reader.seen.some(record => `${record.value}` === 'after'), 'its record', 90_000)
  await producer.disconnect()
  await reader.close()
}, { restart: true })
