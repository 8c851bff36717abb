// tools/layout refuses what would corrupt a proxy's storage. Each case edits a copy of the sources.
'use strict';

const { spawnSync } = require('node:child_process');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');
const { applyEdits, contractsNamed, descendants, parseFolders, range } = require('../../tools/mutation/ast');

const contracts = path.join(__dirname, '../..');
/** A copy of the sources in which `edits` changed one contract; runs tools/layout on it. */
function withEdits(context, contract, edits) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'layout-'));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  for (const entry of ['src', 'layout']) fs.cpSync(path.join(contracts, entry), path.join(folder, entry), { recursive: true });
  for (const entry of ['out', 'node_modules']) fs.symlinkSync(path.join(contracts, entry), path.join(folder, entry));
  const units = parseFolders(contracts, ['src']);
  const [{ file, node }] = contractsNamed(units, contract);
  const { source } = units[file];
  fs.writeFileSync(path.join(folder, file), applyEdits(source, edits(node, source)));
  return (...args) =>
    spawnSync(path.join(contracts, 'tools/layout'), args, { env: { ...process.env, LAYOUT_ROOT: folder }, encoding: 'utf8' });
}

const variable = (within, name) => descendants(within).find((node) => node.nodeType === 'VariableDeclaration' && node.name === name);
const struct = (contract, name) => contract.nodes.find((node) => node.nodeType === 'StructDefinition' && node.name === name);
const textOf = (source, node) => source.subarray(...range(node)).toString();
const exchange = (node, text) => ({ start: range(node)[0], end: range(node)[1], text });

/** Two fields of a struct in each other's place. */
const swapped = (structName, first, second) => (contract, source) => {
  const [left, right] = [first, second].map((name) => variable(struct(contract, structName), name));
  return [exchange(left, textOf(source, right)), exchange(right, textOf(source, left))];
};

/** One more field after the last one of a struct. */
const extended = (structName, field) => (contract) => {
  const [, end] = range(struct(contract, structName).members.at(-1));
  return [{ start: end, end, text: `; ${field}` }];
};

const notConstant = (name) => (contract, source) => {
  const declaration = variable(contract, name);
  return [exchange(declaration, textOf(source, declaration).replace(/\bconstant\b/, ''))];
};

test('a moved field is refused, and not written either', (context) => {
  const layout = withEdits(context, 'EscrowStorage', swapped('EscrowState', 'pendingTotal', 'creditedTotal'));
  for (const args of [['--check'], []]) {
    const result = layout(...args);
    assert.strictEqual(result.status, 1);
    assert.match(result.stderr, /would corrupt/);
    assert.match(result.stderr, /EscrowStorage: .*`pendingTotal`/);
  }
});

test('a field inside a mapped struct is guarded too', (context) => {
  const result = withEdits(context, 'EscrowStorage', swapped('Deposit', 'depositedAt', 'expiresAt'))('--check');
  assert.strictEqual(result.status, 1);
  assert.match(result.stderr, /would corrupt[^]*`depositedAt`/);
});

test('a field at the end is accepted once it is committed', (context) => {
  const layout = withEdits(context, 'EscrowStorage', extended('EscrowState', 'uint256 added'));
  const before = layout('--check');
  assert.strictEqual(before.status, 1);
  assert.match(before.stderr, /run tools\/layout/);
  assert.strictEqual(layout().status, 0);
  assert.strictEqual(layout('--check').status, 0);
});

test('code that must not run behind a proxy is refused', (context) => {
  const result = withEdits(context, 'UserRegistry', notConstant('MAX_ATTESTATION_AGE'))('--check');
  assert.strictEqual(result.status, 1);
  assert.match(result.stderr, /initial value/);
});
