// An LED sign, dot by dot. GalmuriMono11 is drawn once at its own size, 12 px a full-width character, 6 px a cell, and
// every pixel becomes a dot. The gateway decides which lines make a page; nothing here changes text.
const CELL = 6, ROW = 14, PITCH = 5, PAGE_MS = 4000, STEP_MS = 40;
const ON = "#ffb000", OFF = "#1c1710";

export class Sign {
  constructor(canvas) {
    this.canvas = canvas;
    this.pages = [];
    this.columns = 20;
    this.lines = 2;
    this.still = window.matchMedia ? matchMedia("(prefers-reduced-motion: reduce)") : { matches: false };
    this.resize();
  }

  async show(view) {
    const turn = (this.shows = (this.shows || 0) + 1);
    // Without the font, the browser's own draws the message: less pretty, but readable.
    try { await document.fonts.load("12px Sign", "가"); } catch { /* retried at the next message */ }
    if (turn !== this.shows) return;
    clearInterval(this.timer);
    Object.assign(this, { pages: view.pages, columns: view.lines ? view.columns : 20, lines: view.lines });
    this.resize();
    this.turn = 0;
    this.strip = view.lines || !this.pages.length ? null : bitmap([this.pages[0][0]], null);
    this.step();
    if (this.strip || this.pages.length > 1) this.timer = setInterval(() => this.step(), this.strip ? STEP_MS : PAGE_MS);
  }

  resize() {
    this.wide = this.columns * CELL;
    this.high = (this.lines || 1) * ROW;
    this.canvas.width = this.wide * PITCH;
    this.canvas.height = this.high * PITCH;
    this.draw(() => false);
  }

  step() {
    if (!this.pages.length) return this.draw(() => false);
    if (this.strip) {
      // With reduced motion, the text moves in jumps of a whole sign.
      const jump = this.still.matches ? Math.floor(this.turn / 100) * this.wide + this.wide : this.turn;
      const shift = (jump % (this.strip.width + this.wide)) - this.wide;
      this.draw((x, y) => lit(this.strip, x + shift, y));
    } else {
      const page = bitmap(this.pages[this.turn % this.pages.length], this.wide);
      this.draw((x, y) => lit(page, x, y));
    }
    this.canvas.dataset.turn = ++this.turn;
  }

  draw(isOn) {
    const pen = this.canvas.getContext("2d");
    pen.fillStyle = "#050505";
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (const on of [false, true]) {
      pen.fillStyle = on ? ON : OFF;
      pen.beginPath();
      for (let y = 0; y < this.high; y++) for (let x = 0; x < this.wide; x++) {
        if (isOn(x, y) !== on) continue;
        const left = x * PITCH + PITCH / 2, top = y * PITCH + PITCH / 2;
        pen.moveTo(left + 2, top);
        pen.arc(left, top, 2, 0, 7);
      }
      pen.fill();
    }
  }
}

function lit(image, x, y) {
  return x >= 0 && x < image.width && y < image.height && image.data[(y * image.width + x) * 4 + 3] > 127;
}

function bitmap(lines, wide) {
  const pen = document.createElement("canvas").getContext("2d");  // not OffscreenCanvas: older web views lack it
  pen.font = "12px Sign";
  const width = wide || Math.ceil(pen.measureText(lines[0]).width);
  pen.canvas.width = width;
  pen.canvas.height = lines.length * ROW;
  pen.font = "12px Sign";
  pen.textBaseline = "alphabetic";
  lines.forEach((line, row) => pen.fillText(line, 0, row * ROW + 11));
  return pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height);
}
