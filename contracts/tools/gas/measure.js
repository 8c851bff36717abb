// What the gas report measures: batches, single calls, a plain escrow beside ours, and where the gas goes.
'use strict';

const { encode, word, text, strip, AMOUNT, EXECUTOR, OFFICER } = require('./chain.js');

const BATCHES = [1, 16, 64, 256];
const WEEK = 604_800;

/** A running system: no total and no balance starts from zero. */
async function warmUp(chain) {
  const first = await chain.items(2, (i) => chain.users[254 + i]);
  await chain.batch('submit', first);
  await chain.batch('execute', first.slice(0, 1));
}

/** Every measurement starts from the same chain, so "new" users are new each time. */
async function fresh(chain, work) {
  const snapshot = await chain.rpc('evm_snapshot', []);
  const result = await work();
  await chain.rpc('evm_revert', [snapshot]);
  return result;
}

function batches(chain, sizes = BATCHES) {
  const one = async (count) => {
    const rows = await chain.items(count);
    const row = { count };
    row.submitNew = await chain.batch('submit', rows);
    row.executeNew = await chain.batch('execute', rows);
    const again = await chain.items(count);
    row.submitSameDay = await chain.batch('submit', again);
    row.executeExisting = await chain.batch('execute', again);
    const returned = await chain.items(count);
    await chain.batch('submit', returned);
    row.refund = await chain.batch('refund', returned);
    return row;
  };
  return sizes.reduce(async (table, count) => [...(await table), await fresh(chain, () => one(count))], []);
}

const gasOf = (receipt) => Number(receipt.gasUsed);
const reasonOf = (id) => [id, word(64), word(15), text('payment expired')];

/** The functions one intent passes through, each as its own transaction. */
async function singles(chain) {
  const { addresses, escrow, send } = chain;
  const coin = encode('USDStablecoin');
  const table = [];
  const user = chain.users[0];
  await send(addresses.treasury, addresses.stablecoin, coin('transfer', word(user), word(AMOUNT * 9n)));
  await send(user, addresses.stablecoin, coin('approve', word(addresses.escrow), word(2n ** 256n - 1n)));
  const submit = async () =>
    gasOf(await send(user, addresses.escrow, escrow('submitIntent', word(AMOUNT), text('KES'), chain.nextReference())));
  table.push(['submitIntent, user new that day', await submit()]);
  table.push(['submitIntent, user seen that day', await submit()]);
  const rows = await chain.items(4);
  await chain.batch('submit', rows);
  const execute = async (row) => gasOf(await send(EXECUTOR, addresses.escrow, escrow('executeMint', row.id)));
  table.push(['executeMint, new holder', await execute(rows[0])]);
  const again = await chain.items(1);
  await chain.batch('submit', again);
  table.push(['executeMint, existing holder', await execute(again[0])]);
  table.push(['refundIntent', gasOf(await send(EXECUTOR, addresses.escrow, escrow('refundIntent', ...reasonOf(rows[1].id))))]);
  await chain.rpc('evm_increaseTime', [WEEK]);
  table.push(['reclaim', gasOf(await send(user, addresses.escrow, escrow('reclaim', rows[2].id)))]);
  return table;
}

/** What officers and admins do. */
async function offices(chain) {
  const { addresses, escrow, manager, send } = chain;
  const stranger = word(0xbeef);
  const ours = (name, ...words) => [name, addresses.escrow, escrow(name, ...words)];
  const desk = (title, name, ...words) => [title, addresses.complianceManager, manager(name, ...words)];
  const calls = [
    ours('pause'),
    ours('unpause'),
    ours('sweepSettled', word(AMOUNT)),
    ours('setTreasury', stranger),
    ours('revokeTreasury', word(addresses.treasury)),
    ours('setUserRegistry', word(addresses.userRegistry)),
    ours('setMintLimits', word(1), word(2)),
    ours('setDailyLimitPerUser', word(1)),
    ours('setExecutorMintPerHour', word(1)),
    ours('setDepositExpirySeconds', word(WEEK + 1)),
    desk('setUserCompliance, user unknown', 'setUserCompliance', stranger, word(10), text('a'), word(1)),
    desk('setUserCompliance, user known', 'setUserCompliance', stranger, word(11), text('b'), word(1)),
    desk('updateUserRisk', 'updateUserRisk', stranger, word(12)),
    desk('recordAttestation', 'recordAttestation', stranger, text('c'), text('KYC')),
  ];
  const table = [];
  for (const [name, to, data] of calls) table.push([name, gasOf(await send(OFFICER, to, data))]);
  return table;
}

/** The second of two intents each, so nothing shared starts from zero. */
async function plain(chain) {
  const { addresses, send } = chain;
  const words = [addresses.stablecoin, addresses.complianceManager, addresses.treasury, EXECUTOR].map(word);
  const escrow = await chain.create(OFFICER, 'PlainEscrow', ...words);
  const call = encode('PlainEscrow');
  const coin = encode('USDStablecoin');
  await send(addresses.treasury, addresses.stablecoin, coin('approve', word(escrow), word(2n ** 256n - 1n)));
  const submit = async (user) => {
    const receipt = await send(EXECUTOR, escrow, call('submit', word(user), word(AMOUNT), text('KES'), chain.nextReference()));
    const own = receipt.logs.find((log) => log.address.toLowerCase() === escrow.toLowerCase());
    return { gas: gasOf(receipt), id: strip(own.topics[1]) };
  };
  const execute = async ({ id }) => gasOf(await send(EXECUTOR, escrow, call('executeMint', id)));
  const refund = async ({ id }) => gasOf(await send(EXECUTOR, escrow, call('refundIntent', ...reasonOf(id))));
  await execute(await submit(chain.users[9]));
  const first = await submit(chain.users[0]);
  const executeNew = await execute(first);
  const second = await submit(chain.users[0]);
  const executeExisting = await execute(second);
  return {
    submitNew: first.gas,
    submitSameDay: second.gas,
    executeNew,
    executeExisting,
    refund: await refund(await submit(chain.users[0])),
  };
}

/** Gas of the compliance source within one batch, after the first item: for a new user, and for them again. */
async function complianceReads(chain) {
  const rows = await chain.items(3, (i) => chain.users[Math.min(i, 1)]);
  await chain.batch('submit', rows);
  const { hash } = await chain.batch('execute', rows);
  const trace = await chain.rpc('debug_traceTransaction', [hash, { tracer: 'callTracer' }]);
  const reads = [];
  const walk = (frame) => {
    const asked = frame.to?.toLowerCase() === chain.addresses.complianceManager.toLowerCase();
    if (asked && frame.type === 'STATICCALL') reads.push(Number(frame.gasUsed));
    (frame.calls ?? []).forEach(walk);
  };
  walk(trace);
  return { first: reads[1], again: reads[2] };
}

/** Where one deposit of a batch of 16 spends its gas: the difference to a batch of one, over fifteen. */
async function depositProfile(chain) {
  const profile = async (count) => {
    const { hash, gas } = await chain.batch('submit', await chain.items(count));
    const options = { disableMemory: true, disableStack: true, disableStorage: true };
    const { structLogs } = await chain.rpc('debug_traceTransaction', [hash, options]);
    return { ...groupGas(structLogs), total: gas };
  };
  const many = await fresh(chain, () => profile(16));
  const one = await fresh(chain, () => profile(1));
  const share = Object.fromEntries(Object.keys(many).map((key) => [key, Math.round((many[key] - one[key]) / 15)]));
  const inside = Object.entries(share).reduce((sum, [key, gas]) => (key === 'total' ? sum : sum + gas), 0);
  return { ...share, calldata: share.total - inside };
}

function groupGas(logs) {
  const groups = { newSlots: 0, otherWrites: 0, reads: 0, events: 0, hashing: 0, calls: 0, code: 0 };
  logs.forEach(({ op, gasCost, depth }, i) => {
    // What a call hands on is counted where it is spent.
    const enters = logs[i + 1]?.depth > depth;
    const cost = enters ? 100 : gasCost;
    if (op === 'SSTORE') groups[cost >= 20_000 ? 'newSlots' : 'otherWrites'] += cost;
    else if (op === 'SLOAD') groups.reads += cost;
    else if (op.startsWith('LOG')) groups.events += cost;
    else if (op === 'KECCAK256') groups.hashing += cost;
    else if (op.endsWith('CALL')) groups.calls += cost;
    else groups.code += cost;
  });
  return groups;
}

module.exports = { warmUp, fresh, batches, singles, offices, plain, complianceReads, depositProfile };
