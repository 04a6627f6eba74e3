// What @cloud-copilot/iam-simulate (npm, AGPL-3.0-or-later, run here as a process of its own and never linked) decides of requests to
// AWS. Reads a JSON list of { name, role, inline, session, action, resource, context } and prints { name: decision }.
import { runSimulation } from '@cloud-copilot/iam-simulate';
import { readFileSync } from 'node:fs';

const account = '123456789012';
const all = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] };
const decisions = {};
for (const { name, role, inline, session, action, resource, context, bucket } of JSON.parse(readFileSync(0, 'utf8'))) {
  const result = await runSimulation({
    request: {
      principal: context.principal,
      action,
      resource: { resource, accountId: account },
      contextVariables: Object.fromEntries(Object.entries(context).filter(([key]) => key !== 'principal')),
    },
    sessionPolicy: session,
    identityPolicies: [{ name: 'role', policy: role }, ...(inline ? [{ name: 'hallpass', policy: inline }] : [])],
    serviceControlPolicies: [{ orgIdentifier: 'o-1', policies: [{ name: 'all', policy: all }] }],
    resourceControlPolicies: [],
    resourcePolicy: bucket,
  }, {});
  decisions[name] = result.resultType === 'error' ? `error: ${JSON.stringify(result)}` : result.overallResult;
}
process.stdout.write(JSON.stringify(decisions));
