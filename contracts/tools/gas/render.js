// The text of gas.md around the measured figures.
'use strict';

const TX_LIMIT = 16_777_216;
const COLUMNS = [
  ['submitNew', 'submitIntents, users new that day', 300_000],
  ['submitSameDay', 'submitIntents, users seen that day', 300_000],
  ['executeNew', 'executeMints, new holders', 200_000],
  ['executeExisting', 'executeMints, existing holders', 200_000],
  ['refund', 'refundIntents', 260_000],
];

const table = (head, rows) => [
  `| ${head.join(' | ')} |`,
  `|---|${head.slice(1).map(() => '---:|').join('')}`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
];

/** Linear fit over batches of 16 and 64, with the last item's whole allowance and its report kept back. */
function fit(rows, key, allowance) {
  const at = (count) => rows.find((row) => row.count === count)[key].gas;
  const item = Math.ceil((at(64) - at(16)) / 48);
  const base = Math.max(0, at(16) - 16 * item);
  const kept = Math.ceil((allowance * 64) / 63) + 5_000;
  return { base, item, largest: Math.floor((TX_LIMIT - base - kept + item) / item) };
}

function render({ batches, singles, offices, plain, reads, profile }) {
  const fits = Object.fromEntries(COLUMNS.map(([key, , allowance]) => [key, fit(batches, key, allowance)]));
  const each = (row, key) => `${row[key].gas} (${Math.ceil(row[key].gas / row.count)} each)`;
  const ours = (key) => batches.find((row) => row.count === 1)[key].gas;
  const share = (part, whole) => `${Math.round((100 * part) / whole)} %`;
  const saved = (key) => share(plain[key] - fits[key].item, plain[key]);
  return [
    '# What it costs',
    '',
    'Written by `tools/gas-table` from real transactions (intrinsic gas and calldata included) against the',
    'system `deploy.sh` deploys. A transaction may use at most 16,777,216 gas.',
    '',
    '## Batches',
    '',
    ...table(['batch', ...COLUMNS.map(([, title]) => title)], batches.map((row) => [row.count, ...COLUMNS.map(([key]) => each(row, key))])),
    '',
    'Linear fit over batches of 16 and 64, and what fits under the limit once the allowance of the last item',
    '(`*_ITEM_GAS`, 64/63 of it, and 5,000 to report) is kept back:',
    '',
    ...table(['command', 'base', 'per item', 'largest batch'], COLUMNS.map(([key, title]) => [title, fits[key].base, fits[key].item, fits[key].largest])),
    '',
    '## Single calls',
    '',
    ...table(['function', 'gas'], [...singles, ...offices]),
    '',
    '## Beside a plain escrow',
    '',
    '`test/mocks/PlainEscrow.sol` does the same business with one field a slot, a re-entrancy guard in storage and',
    'one transaction an intent. It has no proxy, no batches and weighs no balances, so the comparison favours it.',
    '',
    ...table(
      ['', 'plain, alone', 'ours, batch of one', 'ours, each of many', 'saved'],
      COLUMNS.map(([key, title]) => [title, plain[key], ours(key), fits[key].item, saved(key)]),
    ),
    '',
    '## Where a deposit spends its gas',
    '',
    'Per item of a batch of 16, users new that day:',
    '',
    ...table(
      ['what', 'gas', 'share'],
      [
        ['slots that were zero (record 2, claim 1, daily use 1)', 'newSlots'],
        ['other storage writes', 'otherWrites'],
        ['storage reads', 'reads'],
        ['events', 'events'],
        ['hashing', 'hashing'],
        ['calls', 'calls'],
        ['code and memory', 'code'],
        ['calldata', 'calldata'],
      ].map(([title, key]) => [title, profile[key], share(profile[key], profile.total)]),
    ),
    '',
    'Storage is nearly all of it, so `submitIntents` cannot come near the cost of `executeMints`, which writes no new',
    'slot for an existing holder. An intent needs 94 bytes that later calls know only by its id: user, amount,',
    'depositor, status, two times and the reference, which `MintExecuted` repeats. That is three slots. The claim',
    'lies under depositor and reference, so the same slot shows that the reference was used. The fourth, daily use,',
    'is new for a user who never deposited, and costs 5,000 instead of 22,100 later. Less would mean to take the',
    "fields from the executor's calldata again when minting (they hash to the id), which the fixed",
    '`executeMint(bytes32)` and the views by id rule out.',
    '',
    '## What is not done',
    '',
    `Verdicts are not kept per user within a batch. Asking the compliance source costs ${reads.first} for a user met first`,
    `and ${reads.again} for the same user again, since the chain itself makes repeated reads cheap. A cache would save at most`,
    'that last figure for a repeated user, and cost every other item about 400 (two hashes, two transient reads, a',
    `transient write): it pays once more than ${share(400, reads.again)} of a batch's items repeat a user, which ours do not, and an`,
    'old verdict is a risk of its own.',
    '',
  ].join('\n');
}

module.exports = { render };
