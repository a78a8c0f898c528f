// idp.mjs PORT FOLDER KID...: a certified OpenID provider on loopback, for tests. It publishes a key for each KID and
// signs with the first; keys are made at the first use of their KID and kept in FOLDER, so that one that starts again
// can have them still. Whoever logs in is who they say. The client's secret comes from $CLIENT_SECRET.
// Each request is a line on standard output, and so is "ready".
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Provider from 'oidc-provider';

const [port, folder, ...kids] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

function key(kid) {
  const file = join(folder, `${kid}.json`);
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwk = { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
    writeFileSync(file, JSON.stringify(jwk), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(file));
}

const livy = {
  scope: 'livy',
  audience: 'livy-gateway',
  accessTokenTTL: 3600,
  accessTokenFormat: 'jwt',
  jwt: { sign: { alg: 'RS256', kid: kids[0] } },
};
const client = { client_secret: process.env.CLIENT_SECRET };
const provider = new Provider(issuer, {
  jwks: { keys: kids.map(key) },
  clients: [
    { ...client, client_id: 'robot', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
    {
      ...client,
      client_id: 'portal',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [`${issuer}/callback`],
      response_types: ['code'],
      application_type: 'native',
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:livy',
      useGrantedResource: () => true,
      getResourceServerInfo: () => livy,
    },
  },
  scopes: ['openid', 'offline_access', 'livy'],
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: ['analysts'] }) }),
  extraTokenClaims: () => ({ groups: ['analysts', 'etl'] }),
  cookies: { keys: [process.env.CLIENT_SECRET] },
});
provider.use(async (ctx, next) => {
  console.log(ctx.path);
  await next();
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
