// contracts/MUTANTS.md, written from the list.
'use strict';

const { describe } = require('./rows');

const HEAD = `# Guards that can be shown to be tested

Each row takes one guard out of the contracts or of the scripts that deploy and upgrade them. The mutant is named by its
node in the compiler's syntax tree; the named test must turn red. \`tools/mutants\` runs them, \`tools/mutants --table\` writes
this page from \`tools/mutants.json\`, and \`tools/mutants --check\` compares the two. [README.md](README.md#adding-a-mutant)
tells how to add one.
`;

const cell = (text) => text.replaceAll('|', '\\|');

function table(rows) {
  const lines = rows.map((row) => `| ${cell(row.lost)} | \`${cell(describe(row))}\` | \`${row.killer}\` |\n`);
  return `${HEAD}\n| what is lost | the mutant | the test that notices |\n|---|---|---|\n${lines.join('')}`;
}

module.exports = { table };
