// Hands the mutants of proof-mutants.json to tools/prove, which is a shell script.
//   proofs.js list [WORD]        one line each for the proofs with WORD in their name: index, contract, proof, what is lost
//   proofs.js write INDEX FOLDER puts the mutant's file into a copy of the project and prints the file's path
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { mutate, readRows, sourcesOf } = require('./rows');

const root = path.join(__dirname, '../..');
const rows = readRows(path.join(root, 'tools/proof-mutants.json'));
const [action, ...args] = process.argv.slice(2);

if (action === 'list') {
  const [word = ''] = args;
  const lines = rows
    .map(({ killer, lost }, index) => [index, ...killer.split('.'), lost])
    .filter(([, , proof]) => proof.includes(word));
  if (lines.length === 0) throw new Error(`no proof of proof-mutants.json has ${word} in its name`);
  process.stdout.write(lines.map((line) => `${line.join('\t')}\n`).join(''));
} else if (action === 'write') {
  const [index, folder] = args;
  const { file, text } = mutate(sourcesOf(root), rows[Number(index)]);
  fs.writeFileSync(path.join(folder, file), text);
  process.stdout.write(`${file}\n`);
} else {
  throw new Error('usage: proofs.js list [WORD] | write INDEX FOLDER');
}
