// A compiler that stays: loading it and warming it up costs more than compiling a mutant.
// solc-server.js SOCKET: each connection brings { args, input } and takes what tools/solc would print.
'use strict';

const net = require('node:net');
const { answer } = require('../solc');

const server = net.createServer({ allowHalfOpen: true }, (connection) => {
  const chunks = [];
  connection.on('data', (chunk) => chunks.push(chunk));
  connection.on('error', () => connection.destroy());
  connection.on('end', () => {
    const { args, input } = JSON.parse(Buffer.concat(chunks).toString());
    connection.end(answer(args, () => input));
  });
});
server.listen(process.argv[2], () => process.stdout.write('ready\n'));
// Whoever started it holds its standard input: it does not outlive them.
process.stdin.on('end', () => process.exit(0)).resume();
