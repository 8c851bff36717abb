// The compiler's syntax tree of the sources: parsed only, so no import is read and nothing is compiled.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const solc = require('solc');

/** Path below root -> { source, ast } for each Solidity file in the folders. */
function parseFolders(root, folders) {
  const sources = {};
  for (const folder of folders) {
    for (const entry of fs.readdirSync(path.join(root, folder), { recursive: true })) {
      if (!entry.endsWith('.sol')) continue;
      const file = path.posix.join(folder, entry.split(path.sep).join('/'));
      sources[file] = fs.readFileSync(path.join(root, file), 'utf8');
    }
  }
  return parse(sources);
}

/** The same for texts in memory: path -> text. */
function parse(texts) {
  const output = compile(texts, { '*': { '': ['ast'] } });
  return Object.fromEntries(
    Object.entries(texts).map(([file, text]) => [file, { source: Buffer.from(text), ast: output.sources[file].ast }]),
  );
}

/** Throws when one of the texts is no Solidity. */
const requireParsable = (texts) => void compile(texts, {});

function compile(texts, outputSelection) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(Object.entries(texts).map(([file, content]) => [file, { content }])),
    settings: { stopAfter: 'parsing', outputSelection },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: () => ({ contents: 'pragma solidity *;' }) }));
  const errors = (output.errors ?? []).filter(({ severity }) => severity === 'error');
  if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join('\n'));
  return output;
}

/** First and last byte (exclusive) of a node in its file. */
function range(node) {
  const [start, length] = node.src.split(':').map(Number);
  return [start, start + length];
}

const children = (node) =>
  Object.values(node)
    .flat()
    .filter((value) => value !== null && typeof value === 'object');

/** The node and all below it, in the order of the source; of two that start together, the outer one first. */
function descendants(root) {
  const found = [];
  const visit = (node, depth) => {
    if (node.nodeType) found.push({ node, depth });
    children(node).forEach((child) => visit(child, depth + 1));
  };
  visit(root, 0);
  const order = (left, right) => range(left.node)[0] - range(right.node)[0] || left.depth - right.depth;
  return found.sort(order).map(({ node }) => node);
}

/** Every contract, library or interface of that name, with the file it stands in. */
function contractsNamed(units, name) {
  return Object.entries(units).flatMap(([file, { ast }]) =>
    ast.nodes.filter((node) => node.nodeType === 'ContractDefinition' && node.name === name).map((node) => ({ file, node })),
  );
}

/** Functions and modifiers of a contract; the constructor is called `constructor`. */
function functionsNamed(contract, name) {
  return contract.nodes.filter(
    (node) =>
      (node.nodeType === 'FunctionDefinition' && (node.kind === 'constructor' ? 'constructor' : node.name) === name) ||
      (node.nodeType === 'ModifierDefinition' && node.name === name),
  );
}

/** Names a function gives to its parameters, results and variables: they may change and nothing may rest on them. */
function localNames(scope) {
  const declares = ({ nodeType }) => nodeType === 'VariableDeclaration' || nodeType === 'YulTypedName';
  return new Set(scope.nodeType === 'VariableDeclaration' ? [] : descendants(scope).filter(declares).map(({ name }) => name));
}

/** A text with pieces exchanged: edits are { start, end, text } in bytes, none inside another. */
function applyEdits(source, edits) {
  let rest = source;
  for (const { start, end, text } of [...edits].sort((left, right) => right.start - left.start)) {
    rest = Buffer.concat([rest.subarray(0, start), Buffer.from(text), rest.subarray(end)]);
  }
  return rest.toString('utf8');
}

module.exports = { parseFolders, parse, requireParsable, range, descendants, contractsNamed, functionsNamed, localNames, applyEdits };
