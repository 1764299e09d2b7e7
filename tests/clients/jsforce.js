// Drives a Salesforce org with jsforce, which other people wrote, and prints as JSON what it saw.
//
//   NODE_PATH=.../node_modules node jsforce.js < settings.json
//
// Settings: url, client_id, client_secret, private_key (PEM) and username (for a signed assertion), admin (the sandbox's
// /_admin, to end sessions). What the answers must be is for the caller to judge.
'use strict';

const { createSign } = require('node:crypto');
const { readFileSync } = require('node:fs');
const jsforce = require('jsforce');

const VERSION = '66.0';
const settings = JSON.parse(readFileSync(0, 'utf8'));
const oauth2 = { loginUrl: settings.url, clientId: settings.client_id, clientSecret: settings.client_secret };

/** What a call was refused with. */
async function refusal(call) {
  try {
    return { answered: await call() };
  } catch (error) {
    return { code: error.errorCode ?? error.name, message: error.message, data: error.data };
  }
}

function base64url(value) {
  return Buffer.from(value).toString('base64url');
}

/** An assertion for the JWT bearer flow, signed by hand: jsforce leaves that to its caller. */
function assertion() {
  const claims = {
    iss: settings.client_id,
    sub: settings.username,
    aud: 'https://login.salesforce.com',
    exp: Math.floor(Date.now() / 1000) + 170,
  };
  const text = `${base64url('{"alg":"RS256"}')}.${base64url(JSON.stringify(claims))}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(settings.private_key, 'base64url')}`;
}

async function logIn() {
  const connection = new jsforce.Connection({ oauth2, version: VERSION });
  const user = await connection.authorize({ grant_type: 'client_credentials' });
  return { connection, user };
}

async function queries(connection) {
  const soql = 'SELECT Id, Username, Profile.Name FROM User ORDER BY Id';
  const pages = [];
  let page = await connection.query(soql, { headers: { 'Sforce-Query-Options': 'batchSize=200' } });
  pages.push(page);
  while (!page.done) {
    page = await connection.queryMore(page.nextRecordsUrl);
    pages.push(page);
  }
  const everybody = await connection.query(soql, { autoFetch: true, maxFetch: 1000 });
  const found = await connection
    .sobject('User')
    .find({ Username: { $like: 'a%' }, IsActive: true }, ['Id', 'Username'])
    .sort({ Username: 1 })
    .limit(5);
  return {
    total: pages[0].totalSize,
    pages: pages.map((each) => each.records.length),
    users: pages.flatMap((each) => each.records.map((record) => record.Id)),
    profile: pages[0].records[0].Profile.Name,
    fetched: everybody.records.length,
    found: found.map((record) => record.Username),
    count: await connection.sobject('User').count(),
    wrong: await refusal(() => connection.query('SELECT Bogus FROM User')),
  };
}

async function users(connection, ids) {
  const profile = (await connection.query("SELECT Id FROM Profile WHERE Name = 'Standard User'")).records[0].Id;
  const user = (name) => ({
    Username: name,
    LastName: 'Jsforce',
    Email: name,
    Alias: 'jsforce',
    ProfileId: profile,
    TimeZoneSidKey: 'Europe/Paris',
    LocaleSidKey: 'fr_FR',
    LanguageLocaleKey: 'fr',
    EmailEncodingKey: 'UTF-8',
  });
  const created = await connection.sobject('User').create(user('one@jsforce.example'));
  const key = 'Partner_Id__c';
  const byKey = (value, more) => connection.sobject('User').upsert({ [key]: value, ...more }, key);
  return {
    created,
    duplicate: await refusal(() => connection.sobject('User').create(user('ONE@jsforce.example'))),
    changed: await connection.sobject('User').update({ Id: created.id, Title: 'Changed by jsforce' }),
    read: await connection.sobject('User').retrieve(created.id),
    collection: await connection.sobject('User').update([
      ...ids.slice(0, 3).map((Id) => ({ Id, Title: 'Changed by jsforce' })),
      { Id: '003RM0000000001', Title: 'A contact' },
      { Id: created.id, Username: 'no address' },
    ]),
    upserted: [
      await byKey('k1', user('two@jsforce.example')),
      await byKey('k1', { Title: 'Changed by jsforce' }),
    ],
    upserted_many: await connection.sobject('User').upsert(
      [
        { [key]: 'k1', Title: 'Changed again' },
        { [key]: 'k2', ...user('three@jsforce.example') },
        { [key]: 'k3', ...user('one@jsforce.example') },
      ],
      key,
    ),
    undeletable: await refusal(() => connection.sobject('User').destroy(created.id)),
  };
}

async function contacts(connection) {
  const contact = connection.sobject('Contact');
  const records = Array.from({ length: 250 }, (_, number) => ({
    LastName: number === 17 ? '' : `L${number}`,
    Email: `c${number % 249}@jsforce.example`,
  }));
  const created = await contact.create(records, { allowRecursive: true });
  const ids = created.filter((result) => result.success).map((result) => result.id);
  const allOrNone = await contact.update(
    [
      { Id: ids[0], Title: 'Never' },
      { Id: ids[1], LastName: null },
    ],
    { allOrNone: true },
  );
  return {
    created: created.length,
    ids,
    failed: created.filter((result) => !result.success),
    all_or_none: allOrNone,
    several: await refusal(() => contact.upsert({ Email: 'c0@jsforce.example', Title: 'Which?' }, 'Email')),
    retrieved: (await contact.retrieve(ids.slice(0, 3))).map((record) => record.LastName),
    destroyed: (await contact.destroy(ids.slice(0, 3))).map((result) => result.success),
    again: (await contact.destroy(ids.slice(0, 1)))[0],
    gone: await refusal(() => contact.retrieve(ids[0])),
    too_many: await refusal(() => contact.create(records)),
  };
}

async function sessions(connection) {
  const stale = new jsforce.Connection({
    instanceUrl: connection.instanceUrl,
    accessToken: connection.accessToken,
    version: VERSION,
  });
  const refreshing = new jsforce.Connection({
    instanceUrl: connection.instanceUrl,
    accessToken: connection.accessToken,
    version: VERSION,
    refreshFn: (_, done) => logIn().then((fresh) => done(null, fresh.connection.accessToken), done),
  });
  let refreshed = 0;
  refreshing.on('refresh', () => (refreshed += 1));
  await fetch(`${settings.admin}/salesforce/expire-sessions`, { method: 'POST' });
  const expired = await refusal(() => stale.query('SELECT Id FROM User LIMIT 1'));
  const replayed = (await refreshing.query('SELECT Id FROM User LIMIT 1')).records.length;

  const bearer = new jsforce.Connection({ oauth2: { loginUrl: settings.url }, version: VERSION });
  const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
  const user = await bearer.authorize({ grant_type: grant, assertion: assertion() });
  const limits = await bearer.limits();
  await bearer.oauth2.revokeToken(bearer.accessToken);
  const wrong = new jsforce.Connection({ oauth2: { ...oauth2, clientSecret: 'wrong' }, version: VERSION });
  return {
    expired,
    replayed,
    refreshed,
    bearer: user,
    daily_requests: limits.DailyApiRequests.Max,
    api_usage: bearer.limitInfo.apiUsage,
    revoked: await refusal(() => bearer.query('SELECT Id FROM User LIMIT 1')),
    wrong_secret: await refusal(() => wrong.authorize({ grant_type: 'client_credentials' })),
    wrong_assertion: await refusal(() => bearer.authorize({ grant_type: grant, assertion: `${assertion()}x` })),
  };
}

async function main() {
  const { connection, user } = await logIn();
  const versions = await connection.request('/services/data');
  const described = await connection.sobject('User').describe();
  const objects = await connection.describeGlobal();
  const seen = {
    user,
    versions: versions.map((each) => each.version),
    objects: objects.sobjects.map((object) => object.name),
    external_ids: described.fields.filter((field) => field.externalId).map((field) => field.name),
    queries: await queries(connection),
  };
  seen.users = await users(connection, seen.queries.users.slice(1));
  seen.contacts = await contacts(connection);
  seen.sessions = await sessions(connection);
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
