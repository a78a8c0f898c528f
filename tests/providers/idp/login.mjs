// login.mjs ISSUER USER: signs USER in at the provider of idp.mjs as a browser would, by authorization code with PKCE,
// and prints the tokens that the client `portal` gets. Its secret comes from $CLIENT_SECRET.
import { createHash, randomBytes } from 'node:crypto';

const [issuer, user] = process.argv.slice(2);
const jar = new Map();

/** One request with the cookies; redirects are followed until they leave for the client. */
async function go(url, init = {}) {
  for (let hops = 0; hops < 10; hops += 1) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const reply = await fetch(url, { ...init, headers: { ...init.headers, cookie }, redirect: 'manual' });
    for (const line of reply.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) jar.set(name, value);
      else jar.delete(name);
    }
    if (reply.status < 300 || reply.status > 399) return { url, text: await reply.text() };
    url = new URL(reply.headers.get('location'), url).href;
    init = {};
    if (url.startsWith(`${issuer}/callback`)) return { url, text: '' };
  }
  throw new Error(`too many redirects: ${url}`);
}

const form = (fields) => ({
  method: 'POST',
  headers: { 'content-type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(fields),
});

const verifier = randomBytes(32).toString('base64url');
const query = new URLSearchParams({
  client_id: 'portal',
  response_type: 'code',
  redirect_uri: `${issuer}/callback`,
  scope: 'openid offline_access livy',
  prompt: 'consent',
  resource: 'urn:livy',
  nonce: randomBytes(8).toString('base64url'),
  code_challenge_method: 'S256',
  code_challenge: createHash('sha256').update(verifier).digest('base64url'),
});
let page = await go(`${issuer}/auth?${query}`);
for (const fields of [{ prompt: 'login', login: user, password: 'any' }, { prompt: 'consent' }]) {
  const action = /action="([^"]+)"/.exec(page.text);
  if (!action) break;
  page = await go(new URL(action[1], page.url).href, form(fields));
}
const code = new URL(page.url).searchParams.get('code');
if (!code) throw new Error(`no code: ${page.url} ${page.text}`);
const request = form({
  grant_type: 'authorization_code',
  code,
  redirect_uri: `${issuer}/callback`,
  code_verifier: verifier,
});
const pair = Buffer.from(`portal:${process.env.CLIENT_SECRET}`).toString('base64');
request.headers.authorization = `Basic ${pair}`;
console.log(await (await fetch(`${issuer}/token`, request)).text());
