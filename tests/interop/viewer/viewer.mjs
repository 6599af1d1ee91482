// OHIF in a headless Chromium, as somebody who looks at images uses it; and everything it asked on the way.

import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--use-gl=angle',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Milliseconds that a page, an image or a control has to appear: SwiftShader draws on the processor. */
const PATIENCE = 20_000;

/** What a request may say that an answer depends on. */
const TELLING = ['accept', 'accept-encoding', 'authorization', 'if-none-match', 'origin', 'range'];

export class Viewer {
  static async start(executablePath, root, folder) {
    const browser = await chromium.launch({ executablePath, headless: true, args: ARGUMENTS });
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
    return new Viewer(browser, await context.newPage(), root, folder);
  }

  constructor(browser, page, root, folder) {
    this.browser = browser;
    this.page = page;
    this.root = root;
    this.folder = folder;
    this.requests = [];
    this.complaints = [];
    page.setDefaultTimeout(PATIENCE);
    page.on('console', message => {
      if (message.type() === 'error') this.complaints.push(`console: ${message.text()}`);
    });
    page.on('pageerror', error => this.complaints.push(`error: ${error.message}`));
    page.on('requestfailed', request => {
      const reason = request.failure()?.errorText;
      // What the viewer gives up itself, because somebody has gone on, is no failure of who answers.
      if (reason !== 'net::ERR_ABORTED') this.complaints.push(`failed: ${request.url()} ${reason}`);
    });
    page.on('response', response => this.note(response));
  }

  async note(response) {
    const request = response.request();
    if (response.status() >= 400) this.complaints.push(`${response.status()}: ${request.method()} ${request.url()}`);
    const record = {
      method: request.method(),
      url: request.url().startsWith(this.root) ? request.url().slice(this.root.length) : request.url(),
      status: response.status(),
      type: response.headers()['content-type'] ?? '',
      headers: {},
    };
    this.requests.push(record);
    const headers = await request.allHeaders().catch(() => request.headers());
    for (const name of TELLING) if (name in headers) record.headers[name] = headers[name];
  }

  /** Goes to the study list; returns the text of each row. */
  async list() {
    await this.page.goto(`${this.root}/viewer`);
    const rows = this.page.locator('tbody tr');
    await rows.first().waitFor();
    await this.dismiss('Confirm and hide');
    return rows.allInnerTexts();
  }

  /** Opens the study of a row that has this text, as a click on it does. */
  async choose(text) {
    await this.page.locator('tbody tr', { hasText: text }).dblclick();
    await this.page.waitForURL(/StudyInstanceUIDs=/);
    await this.shown();
  }

  /** Opens studies by their address. */
  async open(...uids) {
    await this.page.goto(`${this.root}/viewer/viewer?StudyInstanceUIDs=${uids.join(',')}`);
    await this.shown();
  }

  /** Waits until an image is on the screen, and nothing lies before it. */
  async shown() {
    await this.page.waitForFunction(() => {
      const [viewport] = globalThis.cornerstone?.getEnabledElements()?.map(one => one.viewport) ?? [];
      return viewport?.csImage !== undefined && viewport.viewportStatus === 'rendered';
    });
    await this.dismiss('Confirm and hide');
    await this.dismiss('Skip all');
  }

  async dismiss(text) {
    const button = this.page.getByText(text, { exact: true });
    await button.click({ timeout: 1_000 }).catch(() => {});
  }

  /** Which image is shown, of how many. */
  async position() {
    return this.page.evaluate(() => {
      const [{ viewport }] = globalThis.cornerstone.getEnabledElements();
      return { index: viewport.getCurrentImageIdIndex(), count: viewport.getImageIds().length };
    });
  }

  /** Turns the wheel until the last image is shown, or until it does not go on; returns the images passed. */
  async scroll() {
    const canvas = await this.canvas();
    await canvas.hover();
    const passed = [];
    for (;;) {
      const { index, count } = await this.position();
      passed.push(index);
      if (index === count - 1) return passed;
      await this.page.mouse.wheel(0, 100);
      await this.page.waitForFunction(before => {
        const [{ viewport }] = globalThis.cornerstone.getEnabledElements();
        return viewport.getCurrentImageIdIndex() !== before && viewport.viewportStatus === 'rendered';
      }, index);
    }
  }

  /** Plays the frames, as OHIF offers to for ultrasound, until all have been drawn or patience ends; returns those. */
  async play() {
    await this.page.locator('[data-cy="cine-player-play-pause"]').click();
    return this.page.evaluate(async patience => {
      const [{ viewport }] = globalThis.cornerstone.getEnabledElements();
      const drawn = new Set();
      const all = viewport.getImageIds().length;
      const look = () => drawn.add(viewport.getCurrentImageIdIndex());
      viewport.element.addEventListener('CORNERSTONE_IMAGE_RENDERED', look);
      const end = Date.now() + patience;
      while (drawn.size < all && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 100));
      viewport.element.removeEventListener('CORNERSTONE_IMAGE_RENDERED', look);
      return [...drawn].sort((one, other) => one - other);
    }, PATIENCE);
  }

  /** The values that were decoded, and the colours on the screen, at these columns and rows of the image. */
  async look(points) {
    return this.page.evaluate(wanted => {
      const [{ viewport }] = globalThis.cornerstone.getEnabledElements();
      const { imageData } = viewport.getImageData();
      const canvas = viewport.getCanvas();
      const context = canvas.getContext('2d');
      const scale = canvas.width / canvas.clientWidth;
      const values = viewport.csImage.getPixelData();
      const { columns } = viewport.csImage;
      const samples = values.length / (columns * viewport.csImage.rows);
      return wanted.map(([column, row]) => {
        const [x, y] = viewport.worldToCanvas(imageData.indexToWorld([column, row, 0]));
        const at = (row * columns + column) * samples;
        return {
          stored: Array.from(values.slice(at, at + samples)),
          drawn: Array.from(context.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data),
        };
      });
    }, points);
  }

  async canvas() {
    return this.page.locator('canvas.cornerstone-canvas').first();
  }

  async picture(name) {
    await this.page.screenshot({ path: `${this.folder}/${name}.png` });
  }

  async stop() {
    await this.browser.close();
  }
}
