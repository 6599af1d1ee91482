// Calls of the npm package dicomweb-client: node client.mjs <service URL>, with a list of {name, method, options, singlepart}
// as JSON on its input; data sets to be stored are in Base64 there. Prints the result of each, buffers in Base64, or the status with which it was refused.

import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const require = createRequire(import.meta.url);
const { api } = require('dicomweb-client');
globalThis.XMLHttpRequest = require('xhr2');
console.debug = console.error; // the client talks there; our output is JSON

const [, , url] = process.argv;

function plain(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value);
    return {
      base64: bytes.toString('base64'),
      type: value.contentType ?? null,
      transferSyntax: value.transferSyntaxUID ?? null,
    };
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

const results = {};
for (const { name, method, options, singlepart } of JSON.parse(await text(process.stdin))) {
  if (options.datasets) {
    options.datasets = options.datasets.map((one) => new Uint8Array(Buffer.from(one, 'base64')).buffer);
  }
  const client = new api.DICOMwebClient({ url, singlepart, verbose: false });
  try {
    results[name] = { value: plain(await client[method](options)) };
  } catch (error) {
    results[name] = { status: error.status ?? null, error: String(error) };
  }
}
process.stdout.write(JSON.stringify(results));
