// docs/CONTRACTS.md, executed as written: deploy, upgrade and roll back through the timelock, intents in flight.
// The upgrade comes from a copy of this checkout with one more requirement in it, as a real one would.
'use strict';

const { execFileSync } = require('node:child_process');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const { contracts, cast, startChain, productionSettings, OFFICER, EXECUTOR, TREASURY, STRANGER } = require('./chain');
const { applyEdits, contractsNamed, descendants, functionsNamed, parseFolders, range } = require('../../tools/mutation/ast');

const USER = '0x000000000000000000000000000000000000bEEF';
const WHOLE = 150n * 10n ** 18n;
const bytes32 = (text) => `0x${Buffer.from(text).toString('hex').padEnd(64, '0')}`;

/** The block that follows `<!-- rehearsed: name -->`. */
function commands(name) {
  const text = fs.readFileSync(path.join(contracts, '../docs/CONTRACTS.md'), 'utf8');
  const found = new RegExp(`<!-- rehearsed: ${name} -->\\n\`\`\`bash\\n([^]*?)\`\`\``).exec(text);
  assert.ok(found, `docs/CONTRACTS.md has a block called ${name}`);
  return found[1];
}

function checkout(context) {
  const folder = fs.mkdtempSync(path.join(contracts, 'cache', 'checkout-'));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  for (const entry of ['src', 'script', 'test/utils', 'tools', 'out/deploy', 'cache/deploy', 'foundry.toml', 'deploy.sh', 'upgrade.sh']) {
    fs.cpSync(path.join(contracts, entry), path.join(folder, entry), { recursive: true });
  }
  fs.symlinkSync(path.join(contracts, 'node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

/** The escrow as its next version: another number, and one more requirement before all others of a deposit. */
function makeNext(folder) {
  const units = parseFolders(folder, ['src']);
  const [{ file, node: escrow }] = contractsNamed(units, 'MintEscrow');
  const [version] = functionsNamed(escrow, 'version');
  const [number] = descendants(version.body).filter(({ nodeType }) => nodeType === 'Literal');
  const [checks] = functionsNamed(escrow, '_checkFields');
  const item = checks.parameters.parameters[1].name;
  const [start] = range(checks.body.statements[0]);
  const requirement = `if (${item}.amount % 1e18 != 0) revert InvalidAmount();\n        `;
  const edits = [
    { start: range(number)[0], end: range(number)[1], text: '"1.1.0"' },
    { start, end: start, text: requirement },
  ];
  fs.writeFileSync(path.join(folder, file), applyEdits(units[file].source, edits));
}

test('an upgrade and its rollback, by the commands of docs/CONTRACTS.md', async (context) => {
  const chain = await startChain(context);
  const settings = await productionSettings(chain);
  const asMultisig = `as_multisig() { tools/foundry cast send --rpc-url "$RPC" --unlocked --from "$MULTISIG" "$1" "$2" >/dev/null; }\n`;
  const { PATH, HOME } = process.env;
  const run = (name, cwd) =>
    execFileSync('bash', ['-euo', 'pipefail', '-c', asMultisig + commands('helpers') + commands(name)], {
      cwd, env: { PATH, HOME, RPC: chain.url, ...settings }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'],
    });

  const present = checkout(context);
  run('deploy', present);
  const system = JSON.parse(fs.readFileSync(path.join(present, 'system.json'), 'utf8'));
  const next = checkout(context);
  makeNext(next);
  fs.copyFileSync(path.join(present, 'system.json'), path.join(next, 'system.json'));

  // ---------------------------------------------------------------- the work of the services
  await chain.send(STRANGER, system.stablecoin, cast('calldata', 'mint(address,uint256)', TREASURY, `${10n ** 24n}`));
  await chain.send(TREASURY, system.stablecoin, cast('calldata', 'approve(address,uint256)', system.escrow, `${10n ** 24n}`));
  await chain.send(OFFICER, system.complianceManager,
    cast('calldata', 'setUserCompliance(address,uint8,bytes32,bool)', USER, '10', bytes32('attestation'), 'true'));
  const idOf = (reference, amount = WHOLE) =>
    chain.call(system.escrow, 'computeIntentId(address,address,uint256,bytes32,bytes32)(bytes32)',
      TREASURY, USER, `${amount}`, bytes32('KES'), bytes32(reference));
  const skipped = cast('keccak', 'ItemSkipped(bytes32,uint8,uint8,bytes)');
  const done = async (data) => !(await chain.send(EXECUTOR, system.escrow, data)).logs.some((log) => log.topics[0] === skipped);
  const submit = (reference, amount = WHOLE) =>
    done(cast('calldata', 'submitIntents((bytes32,address,address,uint256,bytes32,bytes32)[])',
      `[(${[idOf(reference, amount), TREASURY, USER, amount, bytes32('KES'), bytes32(reference)].join(',')})]`));
  const execute = (reference) => done(cast('calldata', 'executeMints(bytes32[])', `[${idOf(reference)}]`));
  const refund = (reference) => done(cast('calldata', 'refundIntents(bytes32[],string)', `[${idOf(reference)}]`, 'declined'));
  const version = () => chain.call(system.escrow, 'version()(string)').replaceAll('"', '');
  const passes = async (seconds) => {
    await chain.rpc('evm_increaseTime', seconds);
    await chain.rpc('evm_mine');
  };

  for (const reference of ['A', 'B', 'C', 'D']) assert.ok(await submit(reference), reference);

  // ---------------------------------------------------------------- the upgrade
  run('upgrade', next);
  assert.ok(await execute('A'), 'work goes on while the upgrade waits');
  assert.throws(() => run('execute', next), 'not before the delay');
  await passes(2 * 86400 + 1);
  run('execute', next);
  assert.strictEqual(version(), '1.1.0');
  assert.ok(!(await execute('A')), 'what was minted stays minted');
  assert.ok(await execute('B'), 'an old intent ends under new code');
  assert.ok(!(await submit('E', WHOLE + 1n)), 'the new requirement holds');
  assert.ok(await submit('F'));

  // ---------------------------------------------------------------- kept, or taken back
  const before = await chain.rpc('evm_snapshot');
  run('keep', next);
  assert.throws(() => run('rollback', next), 'a cancelled rollback is gone');
  await chain.rpc('evm_revert', before);
  run('rollback', next);
  assert.strictEqual(version(), '1.0.0');
  assert.ok(await execute('C'), 'an old intent ends after the rollback');
  assert.ok(await execute('F'), 'so does one made under the new code');
  assert.ok(await refund('D'));
  assert.ok(!(await refund('B')), 'what was minted is not refunded as well');
  assert.ok(await submit('E', WHOLE + 1n), 'the requirement is gone again');

  const supply = chain.call(system.countryToken, 'totalSupply()(uint256)').split(' ')[0];
  assert.strictEqual(BigInt(supply), 4n * WHOLE);
  const pending = chain.call(system.escrow, 'pendingTotal()(uint256)').split(' ')[0];
  assert.strictEqual(BigInt(pending), WHOLE + 1n);
});
