// npm's livy-client: a session and a batch, as its README shows them.
const LivyClient = require('livy-client')

const gateway = new URL(process.env.GATEWAY)
const login = `${process.env.LIVY_USER}:${process.env.LIVY_PASSWORD}`
const livy = new LivyClient({
  host: gateway.hostname,
  port: gateway.port,
  pathPrefix: gateway.pathname,
  headers: { Authorization: `Basic ${Buffer.from(login).toString('base64')}` }
})
const end = (code) => process.exit(code)
livy.on('error', (error) => { console.error(error); end(1) })
const once = (emitter, state) => new Promise((resolve, reject) => {
  emitter.once(state, resolve)
  emitter.once('dead', () => reject(new Error(`dead, not ${state}`)))
})

const flow = async () => {
  const before = await livy.sessions()
  const session = await livy.createSession({ kind: 'pyspark' })
  await once(session, 'idle')
  const statement = await session.run({ code: 'print(6 * 7)' })
  const { output } = await once(statement, 'available')
  const killed = await session.kill()
  session.cleanup()
  const batch = await livy.Batch().createSession({ file: process.env.BATCH_FILE, args: ['7'] })
  await once(batch, 'success')
  const { log } = await batch.log({ from: 0, size: 100 })
  await batch.kill()
  console.log(JSON.stringify({
    before: before.length,
    answer: output.data['text/plain'],
    killed: killed.msg,
    counted: log.includes('counted 7 in plain Python')
  }))
}
flow().then(() => end(0), (error) => { console.error(error); end(1) })
