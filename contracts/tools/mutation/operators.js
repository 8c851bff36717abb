// What can be done to a node: a closed set. An operator says which types of node it takes, which fields its row
// has besides the selector's, and which edits of the source it makes. None of them takes Solidity from the row.
'use strict';

const { descendants, range } = require('./ast');

const STATEMENTS = ['ExpressionStatement', 'IfStatement', 'EmitStatement', 'RevertStatement', 'YulIf'];
const EXPRESSIONS = ['Identifier', 'MemberAccess', 'FunctionCall', 'UnaryOperation', 'BinaryOperation', 'ModifierInvocation'];
const COMPARISONS = ['<', '<=', '>', '>=', '==', '!='];
const CHAINED = ['&&', '||', '+'];
const VALUES = ['msg.sender', 'address(0)', 'bytes32(0)'];
const DECLARED = /^[A-Z]\w*(\.[A-Z]\w*)?$/;

const textOf = (source, node) => source.subarray(...range(node)).toString();
const exchange = (node, text) => ({ start: range(node)[0], end: range(node)[1], text });

/** A statement's node ends before its semicolon. */
function statement(source, node) {
  const [start, end] = range(node);
  const [semicolon] = /^\s*;/.exec(source.subarray(end).toString()) ?? [''];
  return { start, end: end + semicolon.length };
}

/** a, b and c of `a || b || c`. */
function operands(chain) {
  const { leftExpression: left, rightExpression: right, operator } = chain;
  return [...(left.nodeType === 'BinaryOperation' && left.operator === operator ? operands(left) : [left]), right];
}

/** A whole chain, not the part of a longer one. */
const isChain = (node, parts) =>
  CHAINED.includes(node.operator) &&
  !parts.some((other) => other.nodeType === 'BinaryOperation' && other.leftExpression === node && other.operator === node.operator);

function withoutOperand(source, chain, number) {
  const all = operands(chain);
  const dropped = all[number - 1];
  if (dropped === undefined) throw new Error(`the chain has ${all.length} operands, not ${number}`);
  const parent = descendants(chain).find((node) => node.leftExpression === dropped || node.rightExpression === dropped);
  const kept = parent.leftExpression === dropped ? parent.rightExpression : parent.leftExpression;
  return [exchange(parent, textOf(source, kept))];
}

function withoutArgument(call, number) {
  if (number < 2) throw new Error('the first argument cannot be dropped');
  return [{ start: range(call.arguments[number - 2])[1], end: range(call.arguments[number - 1])[1], text: '' }];
}

/** Whoever holds another role passes as well: the check moves from the head of the function into its body. */
function admit(source, { scope, node }, role) {
  const required = textOf(source, node.arguments[0]);
  const [start] = range(scope.body);
  const check = ` if (!hasRole(${role}, msg.sender)) _checkRole(${required});`;
  return [exchange(node, ''), { start: start + 1, end: start + 1, text: check }];
}

const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;
const isValue = (value) => typeof value === 'boolean' || isNumber(value) || VALUES.includes(value) || DECLARED.test(value);
const isName = (value) => /^\w+$/.test(value);

const OPERATORS = {
  'delete-statement': {
    nodes: STATEMENTS,
    edits: ({ source, node }) => [{ ...statement(source, node), text: '{}' }],
  },
  'move-statement': {
    nodes: ['ExpressionStatement'],
    fields: { before: (value) => typeof value === 'object' },
    edits: ({ source, node }, { before }) => {
      const from = statement(source, node);
      const [to] = range(before.node);
      return [{ ...from, text: '{}' }, { start: to, end: to, text: `${source.subarray(from.start, from.end)} ` }];
    },
  },
  'revert-instead': {
    nodes: ['ExpressionStatement'],
    fields: { value: isName },
    edits: ({ source, node }, { value }) => [{ ...statement(source, node), text: `revert ${value}();` }],
  },
  'condition-true': {
    nodes: ['IfStatement', 'Conditional'],
    edits: ({ node }) => [exchange(node.condition, 'true')],
  },
  'condition-false': {
    nodes: ['IfStatement', 'Conditional'],
    edits: ({ node }) => [exchange(node.condition, 'false')],
  },
  'change-operator': {
    nodes: ['BinaryOperation'],
    suits: ({ operator }) => COMPARISONS.includes(operator),
    fields: { value: (value) => COMPARISONS.includes(value) },
    edits: ({ node }, { value }) => {
      if (node.operator === value) throw new Error(`the operator is ${value} already`);
      return [{ start: range(node.leftExpression)[1], end: range(node.rightExpression)[0], text: ` ${value} ` }];
    },
  },
  'drop-operand': {
    nodes: ['BinaryOperation'],
    suits: isChain,
    fields: { operand: isNumber },
    edits: ({ source, node }, { operand }) => withoutOperand(source, node, operand),
  },
  'replace-operand': {
    nodes: ['BinaryOperation'],
    suits: ({ operator }) => COMPARISONS.includes(operator),
    fields: { operand: (value) => value === 1 || value === 2, value: isValue },
    edits: ({ node }, { operand, value }) =>
      [exchange(operand === 1 ? node.leftExpression : node.rightExpression, String(value))],
  },
  replace: {
    nodes: EXPRESSIONS,
    fields: { value: isValue },
    edits: ({ node }, { value }) => [exchange(node, String(value))],
  },
  halve: {
    nodes: ['FunctionCall'],
    fields: { argument: isNumber },
    edits: ({ source, node }) => [exchange(node, `(${textOf(source, node)}) / 2`)],
  },
  'copy-argument': {
    nodes: ['FunctionCall'],
    fields: { argument: isNumber, value: isNumber },
    edits: ({ source, node, call }, { value }) => [exchange(node, textOf(source, call.arguments[value - 1]))],
  },
  'drop-argument': {
    nodes: ['FunctionCall'],
    fields: { argument: isNumber },
    edits: ({ call }, { argument }) => withoutArgument(call, argument),
  },
  'copy-member': {
    nodes: ['Assignment'],
    fields: { value: isName },
    edits: ({ source, node }, { value }) =>
      [exchange(node.rightHandSide, `${textOf(source, node.leftHandSide.expression)}.${value}`)],
  },
  'drop-modifier': {
    nodes: ['ModifierInvocation'],
    edits: ({ node }) => [exchange(node, '')],
  },
  'admit-role': {
    nodes: ['ModifierInvocation'],
    fields: { value: (value) => DECLARED.test(value) },
    edits: (found, { value }) => admit(found.source, found, value),
  },
  'set-constant': {
    nodes: ['VariableDeclaration'],
    fields: { value: isNumber },
    edits: ({ node }, { value }) => [exchange(node.value, String(value))],
  },
};

module.exports = { OPERATORS };
