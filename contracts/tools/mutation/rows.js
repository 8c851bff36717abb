// Reads a list of mutants and makes each row into the file it changes and the text that then stands there.
'use strict';

const fs = require('node:fs');
const { applyEdits, contractsNamed, functionsNamed, parseFolders, requireParsable } = require('./ast');
const { locate } = require('./locate');
const { OPERATORS } = require('./operators');

const SELECTOR = ['contract', 'function', 'node', 'of', 'ordinal', 'argument'];
const EVERY_ROW = ['lost', 'operator', 'killer', ...SELECTOR];

const readRows = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const sourcesOf = (root) => parseFolders(root, ['src', 'script']);

/** The fields of a row before any source is looked at. */
function validate(row) {
  for (const field of ['lost', 'contract', 'operator', 'killer']) {
    if (typeof row[field] !== 'string' || row[field] === '') throw new Error(`${field} is missing`);
  }
  const operator = Object.hasOwn(OPERATORS, row.operator) ? OPERATORS[row.operator] : undefined;
  if (!operator) throw new Error(`there is no operator ${row.operator}; there are ${Object.keys(OPERATORS).join(', ')}`);
  const fields = operator.fields ?? {};
  const unknown = Object.keys(row).find((field) => !EVERY_ROW.includes(field) && !Object.hasOwn(fields, field));
  if (unknown) throw new Error(`${row.operator} has no field ${unknown}`);
  for (const [field, holds] of Object.entries(fields)) {
    if (row[field] === undefined || !holds(row[field])) throw new Error(`${row.operator} cannot take ${JSON.stringify(row[field])} as ${field}`);
  }
  if (operator.nodes.length > 1 && !operator.nodes.includes(row.node)) {
    throw new Error(`${row.operator} needs a node: ${operator.nodes.join(', ')}`);
  }
  if (operator.nodes.length === 1 && row.node !== undefined) throw new Error(`${row.operator} needs no node`);
  if (row.killer.split('.').length !== 2) throw new Error('the killer is not Contract.test');
  return operator;
}

/** { file, text }: the mutant of a row. Throws, without the row's name, when it does not name exactly one node. */
function mutate(units, row) {
  const operator = validate(row);
  const selector = Object.fromEntries(SELECTOR.map((field) => [field, row[field]]));
  const found = locate(units, { ...selector, node: row.node ?? operator.nodes[0] }, operator.suits);
  const fields = { ...row };
  if (row.before) {
    const { contract, function: name } = row;
    fields.before = locate(units, { node: operator.nodes[0], ...row.before, contract, function: name });
  }
  return { file: found.file, text: applyEdits(found.source, operator.edits(found, fields)) };
}

/** The mutant in words: where, what is done, to which node. */
function describe(row) {
  const { contract, function: name, operator, node, of, ordinal, argument, operand, value, before } = row;
  return [
    `${contract}${name === undefined ? '' : `.${name}`}: ${operator}`,
    node,
    of === undefined ? undefined : `of ${of}`,
    ordinal === undefined ? undefined : `no. ${ordinal}`,
    argument === undefined ? undefined : `argument ${argument}`,
    operand === undefined ? undefined : `operand ${operand}`,
    value === undefined ? undefined : `to ${value}`,
    before === undefined ? undefined : `before that of ${before.of}`,
  ].filter(Boolean).join(' ');
}

/** Whether a contract of the tests, or one it inherits from, has the function. */
function hasTest(units, contract, name) {
  return contractsNamed(units, contract).some(({ node }) => {
    const bases = node.baseContracts.map(({ baseName }) => baseName.name);
    return functionsNamed(node, name).length > 0 || bases.some((base) => base !== contract && hasTest(units, base, name));
  });
}

/** What is wrong with the rows, each complaint with the row's name. */
function complaints(rows, units, tests) {
  const found = [];
  const mutants = new Map();
  const names = new Set();
  for (const row of rows) {
    const complain = (complaint) => found.push(`${row.lost}: ${complaint}`);
    if (names.has(row.lost)) complain('another row has this name');
    names.add(row.lost);
    try {
      const { text } = mutate(units, row);
      const same = mutants.get(text + row.killer);
      if (same) complain(`"${same.row.lost}" is the same mutant for the same test`);
      mutants.set(text + row.killer, { row, text });
      const [contract, test] = row.killer.split('.');
      if (!hasTest(tests, contract, test)) complain(`there is no test ${row.killer}`);
    } catch (cause) {
      complain(cause.message);
    }
  }
  return [...found, ...unparsable([...mutants.values()])];
}

/** One call of the compiler for all of them; only when it fails is each looked at alone. */
function unparsable(mutants) {
  const fails = (some) => {
    try {
      requireParsable(Object.fromEntries(some.map(({ text }, index) => [`${index}.sol`, text])));
      return undefined;
    } catch (cause) {
      return cause.message;
    }
  };
  if (fails(mutants) === undefined) return [];
  return mutants.flatMap((mutant) => {
    const message = fails([mutant]);
    return message === undefined ? [] : [`${mutant.row.lost}: the mutant is no Solidity: ${message}`];
  });
}

module.exports = { readRows, sourcesOf, mutate, describe, complaints, hasTest };
