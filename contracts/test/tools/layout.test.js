// tools/layout refuses what would corrupt a proxy's storage. Each case edits a copy of the sources.
'use strict';

const { spawnSync } = require('node:child_process');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

const contracts = path.join(__dirname, '../..');
const STORE = 'src/escrow/EscrowStorage.sol';
const LAST_FIELD = 'mapping(address depositor => bool) allowedDepositors;';

function withEdit(context, file, text, replacement) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'layout-'));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  for (const entry of ['src', 'layout']) fs.cpSync(path.join(contracts, entry), path.join(folder, entry), { recursive: true });
  for (const entry of ['out', 'node_modules']) fs.symlinkSync(path.join(contracts, entry), path.join(folder, entry));
  const source = fs.readFileSync(path.join(folder, file), 'utf8');
  assert.strictEqual(source.split(text).length, 2, `${text} occurs once`);
  fs.writeFileSync(path.join(folder, file), source.replace(text, () => replacement));
  return (...args) =>
    spawnSync(path.join(contracts, 'tools/layout'), args, { env: { ...process.env, LAYOUT_ROOT: folder }, encoding: 'utf8' });
}

test('a moved field is refused, and not written either', (context) => {
  const layout = withEdit(
    context, STORE,
    'uint128 pendingTotal;\n        uint128 creditedTotal;',
    'uint128 creditedTotal;\n        uint128 pendingTotal;',
  );
  for (const args of [['--check'], []]) {
    const result = layout(...args);
    assert.strictEqual(result.status, 1);
    assert.match(result.stderr, /would corrupt/);
    assert.match(result.stderr, /EscrowStorage: .*`pendingTotal`/);
  }
});

test('a field inside a mapped struct is guarded too', (context) => {
  const result = withEdit(
    context, STORE,
    'uint40 depositedAt;\n        uint40 expiresAt;',
    'uint40 expiresAt;\n        uint40 depositedAt;',
  )('--check');
  assert.strictEqual(result.status, 1);
  assert.match(result.stderr, /would corrupt[^]*`depositedAt`/);
});

test('a field at the end is accepted once it is committed', (context) => {
  const layout = withEdit(context, STORE, LAST_FIELD, `${LAST_FIELD}\n        uint256 added;`);
  const before = layout('--check');
  assert.strictEqual(before.status, 1);
  assert.match(before.stderr, /run tools\/layout/);
  assert.strictEqual(layout().status, 0);
  assert.strictEqual(layout('--check').status, 0);
});

test('code that must not run behind a proxy is refused', (context) => {
  const result = withEdit(
    context, 'src/UserRegistry.sol',
    'uint64 private constant MAX_ATTESTATION_AGE = 3650 days;',
    'uint64 private MAX_ATTESTATION_AGE = 3650 days;',
  )('--check');
  assert.strictEqual(result.status, 1);
  assert.match(result.stderr, /initial value/);
});
