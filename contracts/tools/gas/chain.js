// A fresh anvil with the system deployed, and the few calls the gas report makes of it. Addresses,
// references and order are fixed, so the figures are the same on every machine.
'use strict';

const { spawn, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const root = path.join(__dirname, '../..');
const AMOUNT = 10n ** 18n * 100n;
const EXECUTOR = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8';
const OFFICER = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
const BLOCK_GAS = 60_000_000;

const word = (value) => BigInt(value).toString(16).padStart(64, '0');
const text = (value) => Buffer.from(value, 'ascii').toString('hex').padEnd(64, '0');
const strip = (hex) => hex.replace(/^0x/, '');
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const artifact = (name) =>
  JSON.parse(fs.readFileSync(path.join(root, 'out', `${name}.sol`, `${name}.json`), 'utf8'));

/** encode(contract)('method', ...words): calldata for words that are already 32 bytes each. */
function encode(name) {
  const { methodIdentifiers } = artifact(name);
  return (method, ...words) => {
    const key = Object.keys(methodIdentifiers).find((signature) => signature.startsWith(`${method}(`));
    return `0x${methodIdentifiers[key]}${words.join('')}`;
  };
}

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Runs `work` against a new chain that ends with it. */
async function withSystem(flags, work) {
  const port = await freePort();
  // Anvil keeps the per-transaction gas cap off, so that batches beyond it can still be measured.
  const anvil = spawn(
    path.join(root, 'tools/foundry'),
    ['anvil', '--chain-id', '31430', '--port', `${port}`, '--gas-limit', `${BLOCK_GAS}`]
      .concat(['--timestamp', '1767225600', '-q'], flags),
    { stdio: 'ignore' },
  );
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gas-table-'));
  try {
    return await work(await deploy(`http://127.0.0.1:${port}`, path.join(folder, 'addresses.json')));
  } finally {
    anvil.kill();
    fs.rmSync(folder, { recursive: true });
  }
}

async function deploy(url, addressFile) {
  let nextId = 1;
  async function rpc(method, params) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: nextId++, method, params }),
    }).then((response) => response.json());
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result;
  }
  for (let attempt = 0; ; attempt += 1) {
    try {
      await rpc('eth_chainId', []);
      break;
    } catch (cause) {
      if (attempt === 400) throw cause;
      await pause(50);
    }
  }
  execFileSync(path.join(root, 'deploy.sh'), [url, addressFile]);
  const addresses = JSON.parse(fs.readFileSync(addressFile, 'utf8'));
  const chain = { rpc, addresses, escrow: encode('MintEscrow'), manager: encode('ComplianceManager') };

  chain.send = async (from, to, data) => {
    await rpc('anvil_impersonateAccount', [from]);
    await rpc('anvil_setBalance', [from, `0x${(10n ** 20n).toString(16)}`]);
    const hash = await rpc('eth_sendTransaction', [{ from, to, data, gas: `0x${BLOCK_GAS.toString(16)}` }]);
    let receipt = await rpc('eth_getTransactionReceipt', [hash]);
    for (let attempt = 0; receipt === null && attempt < 5000; attempt += 1) {
      await pause(4);
      receipt = await rpc('eth_getTransactionReceipt', [hash]);
    }
    if (receipt.status !== '0x1') throw new Error(`reverted: ${data.slice(0, 10)} to ${to}`);
    return receipt;
  };
  chain.create = async (from, name, ...words) =>
    (await chain.send(from, undefined, artifact(name).bytecode.object + words.join(''))).contractAddress;
  chain.users = Array.from(
    { length: 256 },
    (_, i) => `0x${word(0xa11ce00000000000000000000000000000000000n + BigInt(i) * 0x10001n).slice(24)}`,
  );
  for (const user of chain.users) {
    const facts = chain.manager('setUserCompliance', word(user), word(10), text('attestation'), word(1));
    await chain.send(OFFICER, addresses.complianceManager, facts);
  }
  addBatches(chain);
  return chain;
}

/** items(count, offset): deposits of the treasury for users from offset on. batch(kind, rows): one transaction. */
function addBatches(chain) {
  const { rpc, addresses, escrow } = chain;
  let reference = 1_000_000_000;
  chain.nextReference = () => text(`TX${(reference += 1)}`);
  chain.items = async (count, userAt = (i) => chain.users[i]) => {
    const rows = [];
    for (let i = 0; i < count; i += 1) {
      const user = userAt(i);
      const txRef = chain.nextReference();
      const fields = [word(addresses.treasury), word(user), word(AMOUNT), text('KES'), txRef].join('');
      const call = { to: addresses.escrow, data: escrow('computeIntentId', fields) };
      rows.push({ id: strip(await rpc('eth_call', [call, 'latest'])), fields, user, txRef });
    }
    return rows;
  };
  const idList = (rows) => word(rows.length) + rows.map((row) => row.id).join('');
  const calls = {
    submit: (rows) => escrow('submitIntents', word(32), word(rows.length), ...rows.map((r) => r.id + r.fields)),
    execute: (rows) => escrow('executeMints', word(32), idList(rows)),
    refund: (rows) =>
      escrow('refundIntents', word(64), word(64 + 32 * (rows.length + 1)), idList(rows), word(15), text('payment expired')),
  };
  chain.batch = async (kind, rows) => {
    const receipt = await chain.send(EXECUTOR, addresses.escrow, calls[kind](rows));
    const done = receipt.logs.filter((log) => log.address.toLowerCase() === addresses.escrow.toLowerCase()).length;
    if (done !== rows.length) throw new Error(`${kind}: ${done} of ${rows.length} done`);
    return { gas: Number(receipt.gasUsed), hash: receipt.transactionHash };
  };
}

module.exports = { withSystem, encode, word, text, strip, root, AMOUNT, EXECUTOR, OFFICER };
