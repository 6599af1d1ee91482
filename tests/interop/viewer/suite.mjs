// The test suite that the npm package dicomweb-client brings, in a headless Chromium: node suite.mjs <service URL>, with
// the path of Chromium as JSON on its input. Prints each of its tests: {name, status, messages}.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';

import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const PACKAGE = dirname(dirname(require.resolve('dicomweb-client')));
const JASMINE = join(dirname(PACKAGE), 'jasmine-core', 'lib', 'jasmine-core');

/** Where the suite expects the archive, and the server of its own files. */
const ITS_ARCHIVE = 'http://localhost:8008/dcm4chee-arc/aets/DCM4CHEE/rs';
const ITS_SERVER = 'http://localhost:9876';

const [, , url] = process.argv;
const { executablePath } = JSON.parse(await text(process.stdin));

// As the suite's own karma.conf.js starts it: its server and the archive are of two origins.
const browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-web-security'] });
try {
  const page = await browser.newPage();
  page.on('pageerror', error => console.error(error.message));
  await page.route(`${ITS_SERVER}/**`, async route => {
    const { pathname } = new URL(route.request().url());
    if (pathname === '/') return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>suite</title>' });
    if (pathname.startsWith('/base/')) return route.fulfill({ path: join(PACKAGE, pathname.slice('/base/'.length)) });
    return route.fulfill({ status: 404 });
  });
  await page.goto(`${ITS_SERVER}/`);
  for (const name of ['jasmine.js', 'jasmine-html.js', 'boot0.js']) {
    await page.addScriptTag({ path: join(JASMINE, name) });
  }
  await page.addScriptTag({ path: join(PACKAGE, 'build', 'dicomweb-client.js') });
  const suite = await readFile(join(PACKAGE, 'test', 'test.js'), 'utf8');
  await page.addScriptTag({ content: suite.replaceAll(ITS_ARCHIVE, url) });
  const results = await page.evaluate(async () => {
    const done = [];
    const env = globalThis.jasmine.getEnv();
    env.addReporter({
      specDone: ({ fullName, status, failedExpectations }) =>
        done.push({ name: fullName, status, messages: failedExpectations.map(one => one.message) }),
    });
    await env.execute();
    return done;
  });
  process.stdout.write(JSON.stringify(results));
} finally {
  await browser.close();
}
