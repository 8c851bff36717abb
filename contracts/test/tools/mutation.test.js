// What tools/mutants takes out: each operator on a small contract, and rows that name no node or more than one.
'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { parse } = require('../../tools/mutation/ast');
const { choose, parseArguments } = require('../../tools/mutation/arguments');
const { complaints, describe, mutate } = require('../../tools/mutation/rows');
const { table } = require('../../tools/mutation/table');

const SAMPLE = `pragma solidity ^0.8.28;
contract Vault is Base {
    uint256 private constant LIMIT = 3 days;
    constructor() { _close(); }
    modifier onlySelf() {
        if (msg.sender != address(this)) revert OnlySelf();
        _;
    }
    // ünïcode moves bytes, not characters
    function pay(address to, uint256 amount) external onlyRole(PAYER_ROLE) nonReentrant {
        Box storage box = _box();
        if (amount < box.least || amount > box.most || to == address(0)) revert InvalidAmount();
        if (box.closed) revert Closed();
        box.paid = true;
        box.total += amount;
        emit Paid(to, amount);
        box.keeper = address(to);
        _send(box.coin, to, amount);
        uint256 rest = box.open ? amount : 0;
        assembly { if gt(rest, 1) { rest := 1 } }
    }
}`;
const TESTS = 'contract Base { function test_it() public {} } contract VaultTest is Base {}';
const units = parse({ 'src/Vault.sol': SAMPLE });
const tests = parse({ 'test/Vault.t.sol': TESTS });
const row = (fields) => ({ lost: 'something', contract: 'Vault', function: 'pay', killer: 'VaultTest.test_it', ...fields });

/** The sample with one piece exchanged. */
function exchanged(from, to) {
  assert.strictEqual(SAMPLE.split(from).length, 2, from);
  return SAMPLE.replace(from, () => to);
}

const CASES = [
  [{ operator: 'delete-statement', node: 'IfStatement', of: 'Closed' }, 'if (box.closed) revert Closed();', '{}'],
  [{ operator: 'delete-statement', node: 'IfStatement', ordinal: 2 }, 'if (box.closed) revert Closed();', '{}'],
  [{ operator: 'delete-statement', node: 'RevertStatement', of: 'Closed' }, 'revert Closed();', '{}'],
  [{ operator: 'delete-statement', node: 'EmitStatement' }, 'emit Paid(to, amount);', '{}'],
  [{ operator: 'delete-statement', node: 'YulIf' }, 'if gt(rest, 1) { rest := 1 }', '{}'],
  [{ function: 'constructor', operator: 'delete-statement', node: 'ExpressionStatement' }, '_close();', '{}'],
  [{ function: 'onlySelf', operator: 'condition-true', node: 'IfStatement' }, 'msg.sender != address(this)', 'true'],
  [{ operator: 'condition-false', node: 'Conditional' }, 'box.open ?', 'false ?'],
  [{ operator: 'move-statement', of: '_send', before: { of: 'paid' } },
    'box.paid = true;\n        box.total += amount;\n        emit Paid(to, amount);\n        box.keeper = address(to);\n        _send(box.coin, to, amount);',
    '_send(box.coin, to, amount); box.paid = true;\n        box.total += amount;\n        emit Paid(to, amount);\n        box.keeper = address(to);\n        {}'],
  [{ operator: 'revert-instead', of: '_send', value: 'Closed' }, '_send(box.coin, to, amount);', 'revert Closed();'],
  [{ operator: 'change-operator', of: 'least', value: '<=' }, 'amount < box.least', 'amount <= box.least'],
  [{ operator: 'drop-operand', operand: 1 }, 'amount < box.least || ', ''],
  [{ operator: 'drop-operand', operand: 2 }, ' || amount > box.most', ''],
  [{ operator: 'drop-operand', operand: 3 }, ' || to == address(0)', ''],
  [{ operator: 'replace-operand', of: 'most', operand: 2, value: 7 }, 'box.most', '7'],
  [{ operator: 'replace', node: 'MemberAccess', of: 'coin', value: 'msg.sender' }, 'box.coin', 'msg.sender'],
  [{ operator: 'replace', node: 'ModifierInvocation', of: 'onlyRole', argument: 1, value: 'ADMIN_ROLE' }, 'PAYER_ROLE', 'ADMIN_ROLE'],
  [{ operator: 'halve', of: '_send', argument: 3 }, 'box.coin, to, amount', 'box.coin, to, (amount) / 2'],
  [{ operator: 'copy-argument', of: '_send', argument: 2, value: 1 }, 'box.coin, to, amount', 'box.coin, box.coin, amount'],
  [{ operator: 'drop-argument', of: '_send', argument: 3 }, 'box.coin, to, amount', 'box.coin, to'],
  [{ operator: 'copy-member', of: 'keeper', value: 'coin' }, 'box.keeper = address(to)', 'box.keeper = box.coin'],
  [{ operator: 'drop-modifier', of: 'nonReentrant' }, 'nonReentrant', ''],
  [{ operator: 'admit-role', of: 'onlyRole', value: 'ADMIN_ROLE' },
    'onlyRole(PAYER_ROLE) nonReentrant {',
    ' nonReentrant { if (!hasRole(ADMIN_ROLE, msg.sender)) _checkRole(PAYER_ROLE);'],
  [{ function: undefined, operator: 'set-constant', of: 'LIMIT', value: 0 }, '3 days', '0'],
];

for (const [fields, from, to] of CASES) {
  test(describe(row(fields)), () => {
    assert.deepStrictEqual(mutate(units, row(fields)), { file: 'src/Vault.sol', text: exchanged(from, to) });
    assert.deepStrictEqual(complaints([row(fields)], units, tests), []);
  });
}

const REFUSALS = [
  [{ operator: 'delete-statement', node: 'IfStatement' }, /there are 2 of IfStatement in Vault.pay: give an ordinal/],
  [{ operator: 'delete-statement', node: 'IfStatement', ordinal: 3 }, /there is no IfStatement in Vault.pay with ordinal 3/],
  [{ operator: 'delete-statement', node: 'EmitStatement', ordinal: 1 }, /needs no ordinal/],
  [{ operator: 'delete-statement', node: 'IfStatement', of: 'amount' }, /there is no IfStatement of amount/],
  [{ operator: 'delete-statement', node: 'Block' }, /needs a node: ExpressionStatement/],
  [{ operator: 'delete-statement', node: 'IfStatement', of: 'Closed', value: 1 }, /has no field value/],
  [{ operator: 'comment-out' }, /there is no operator comment-out/],
  [{ operator: 'change-operator', of: 'least', value: '<' }, /the operator is < already/],
  [{ operator: 'drop-operand', operand: 4 }, /the chain has 3 operands/],
  [{ operator: 'replace', node: 'MemberAccess', of: 'coin', value: 'box.keeper' }, /cannot take "box.keeper" as value/],
  [{ operator: 'halve', of: '_send', argument: 4 }, /there is no argument 4/],
  [{ operator: 'drop-modifier', of: 'nonReentrant', function: 'gone' }, /there is no function Vault.gone/],
  [{ operator: 'drop-modifier', of: 'nonReentrant', contract: 'Gone' }, /there is no contract Gone/],
  [{ operator: 'drop-modifier', of: 'nonReentrant', killer: 'VaultTest.test_other' }, /there is no test VaultTest.test_other/],
];

for (const [fields, message] of REFUSALS) {
  test(`a complaint names its row: ${message.source}`, () => {
    const [complaint, ...others] = complaints([row(fields)], units, tests);
    assert.match(complaint, /^something: /);
    assert.match(complaint, message);
    assert.deepStrictEqual(others, []);
  });
}

test('new names of parameters and variables, and comments, change no row', () => {
  const renamed = parse({
    'src/Vault.sol': SAMPLE.replaceAll('box', 'record').replaceAll('amount', 'sum').replaceAll(/\bto\b/g, 'payee').replace('// ünïcode', '/* new */ // ü'),
  });
  for (const [fields] of CASES) assert.deepStrictEqual(complaints([row(fields)], renamed, tests), []);
});

test('a name and a mutant are listed once', () => {
  const one = row({ operator: 'drop-modifier', of: 'nonReentrant' });
  assert.deepStrictEqual(complaints([one, one], units, tests), [
    'something: another row has this name',
    'something: "something" is the same mutant for the same test',
  ]);
});

test('a mutant that is no Solidity is found without running it', () => {
  const broken = parse({ 'src/Vault.sol': SAMPLE.replace('_send(box.coin, to, amount);', '_send({to: to});') });
  const named = row({ operator: 'copy-member', of: 'paid', value: 'if' });
  assert.match(complaints([named], broken, tests)[0], /^something: the mutant is no Solidity/);
});

test('words and shards choose rows; every row is in one shard', () => {
  const rows = Array.from({ length: 7 }, (_, index) => row({ lost: `guard ${index}`, operator: 'drop-modifier' }));
  const chosen = (...args) => choose(rows, parseArguments(args)).map(({ lost }) => lost);
  assert.deepStrictEqual(chosen('GUARD', '3'), ['guard 3']);
  assert.deepStrictEqual(['1/3', '2/3', '3/3'].flatMap((shard) => chosen('--shard', shard)).sort(), rows.map(({ lost }) => lost));
  assert.throws(() => chosen('seal'), /no mutant has seal/);
  assert.throws(() => chosen('--shard', '4/3'), /--shard takes K\/N/);
  assert.throws(() => chosen('--fast'), /no option --fast/);
});

test('the table has a line for each row', () => {
  const text = table([row({ operator: 'drop-operand', operand: 2 })]);
  assert.match(text, /\| something \| `Vault.pay: drop-operand operand 2` \| `VaultTest.test_it` \|\n$/);
});
