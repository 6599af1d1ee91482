// What the test asks for, done in OHIF: node ohif.mjs <chromium> <root URL> <folder for screenshots>, with a list of
// steps as JSON on its input. Prints what was seen, what was asked, and everything that went wrong.

import { text } from 'node:stream/consumers';

import { Viewer } from './viewer.mjs';

const [, , chromium, root, folder] = process.argv;

const STEPS = {
  list: viewer => viewer.list(),
  choose: (viewer, { row, points }) => viewer.choose(row).then(() => seen(viewer, points)),
  open: (viewer, { study, points }) => viewer.open(study).then(() => seen(viewer, points)),
  scroll: async (viewer, { points }) => ({ passed: await viewer.scroll(), ...(await seen(viewer, points)) }),
  play: viewer => viewer.play(),
};

async function seen(viewer, points = []) {
  return { ...(await viewer.position()), points: await viewer.look(points) };
}

const viewer = await Viewer.start(chromium, root, folder);
const results = {};
for (const step of JSON.parse(await text(process.stdin))) {
  const before = viewer.complaints.length;
  const first = viewer.requests.length;
  const result = { value: null, error: null };
  try {
    result.value = await STEPS[step.do](viewer, step);
  } catch (error) {
    result.error = String(error);
  }
  await viewer.picture(step.name).catch(error => viewer.complaints.push(`no screenshot: ${error.message}`));
  result.complaints = viewer.complaints.slice(before);
  result.requests = viewer.requests.slice(first);
  results[step.name] = result;
}
await viewer.stop();
process.stdout.write(JSON.stringify(results));
