// The live stream, and the watch over it: silence is never taken for calm.
import { get } from "./api.js";

const SILENCE_MS = 6500; // stats come every 2 s
const RETRY_MS = 5000;

/** Calls on.alert, on.reading, on.stats, on.reset with data; on.lost(since), on.live(), on.ended(). */
export class Stream {
  constructor(on) {
    this.on = on;
    this.seq = null;
    this.site = "";
    this.source = null;
    this.heard = 0;
    this.opened = 0;
    this.live = false;
    this.timer = null;
    this.checking = false;
  }

  start(seq) {
    this.seq = seq;
    this.heard = Date.now();
    this.open();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.watch(), 1000);
  }

  stop() {
    clearInterval(this.timer);
    this.source?.close();
    this.source = null;
    this.live = false;
  }

  /** Also hear the readings of a site. */
  follow(site) {
    if (site === this.site) return;
    this.site = site;
    if (this.source) this.open();
  }

  open() {
    this.source?.close();
    this.opened = Date.now();
    const values = new URLSearchParams();
    if (this.seq !== null) values.set("last_event_id", this.seq);
    if (this.site) values.set("site", this.site);
    const source = new EventSource(`/api/v1/stream?${values}`);
    this.source = source;
    for (const name of ["alert", "reading", "stats", "reset"]) {
      source.addEventListener(name, (event) => source === this.source && this.take(name, event));
    }
  }

  take(name, event) {
    this.heard = Date.now();
    if (event.lastEventId) this.seq = Number(event.lastEventId);
    if (!this.live) {
      this.live = true;
      this.on.live();
    }
    this.on[name](JSON.parse(event.data));
  }

  watch() {
    const silent = Date.now() - this.heard > SILENCE_MS;
    if (silent && this.live) {
      this.live = false;
      this.on.lost(this.heard);
    }
    const dead = this.source?.readyState === EventSource.CLOSED;
    if ((silent || dead) && Date.now() - this.opened > RETRY_MS) this.again();
  }

  async again() {
    if (this.checking) return;
    this.checking = true;
    try {
      await get("/session");
      if (this.source) this.open();
    } catch (error) {
      if (error.status === 401) this.on.ended();
    } finally {
      this.checking = false;
    }
  }
}
