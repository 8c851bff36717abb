// The command line of tools/mutants.
'use strict';

const USAGE = `tools/mutants [WORD..] [--shard K/N] [--resume]  runs the mutants; exit code 1 when one is not killed
tools/mutants [WORD..] --list                     prints them
tools/mutants --check                             quick: each row names one node and an existing test; MUTANTS.md agrees
tools/mutants --table                             writes MUTANTS.md
A mutant is chosen when its name, contract, function and test together hold every WORD.
--resume leaves out what an earlier run of the same sources saw killed.`;

const ACTIONS = ['--list', '--check', '--table', '--help'];

function parseShard(text) {
  const [, part, parts] = /^(\d+)\/(\d+)$/.exec(text ?? '') ?? [];
  const shard = { part: Number(part), parts: Number(parts) };
  if (!(shard.part >= 1 && shard.part <= shard.parts)) throw new Error(`--shard takes K/N with K from 1 to N, not ${text}`);
  return shard;
}

function parseArguments(args) {
  const parsed = { action: 'run', words: [], shard: { part: 1, parts: 1 }, resume: false };
  const rest = [...args];
  while (rest.length > 0) {
    const argument = rest.shift();
    if (ACTIONS.includes(argument)) parsed.action = argument.slice(2);
    else if (argument === '--resume') parsed.resume = true;
    else if (argument === '--shard') parsed.shard = parseShard(rest.shift());
    else if (argument.startsWith('-')) throw new Error(`there is no option ${argument}\n${USAGE}`);
    else parsed.words.push(argument);
  }
  return parsed;
}

/** The rows with all words, of them every N-th from the K-th. */
function choose(rows, { words, shard }) {
  const holds = (row) => {
    const text = [row.lost, row.contract, row.function, row.killer].join(' ').toLowerCase();
    return words.every((word) => text.includes(word.toLowerCase()));
  };
  const found = rows.filter(holds);
  if (found.length === 0) throw new Error(`no mutant has ${words.join(' and ')}: tools/mutants --list shows them`);
  return found.filter((_, index) => index % shard.parts === shard.part - 1);
}

module.exports = { USAGE, parseArguments, choose };
