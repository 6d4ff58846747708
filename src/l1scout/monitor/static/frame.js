// Messages of the server: see l1scout/monitor/page_frames.py.

export function unpack(buffer) {
  const bytes = new DataView(buffer);
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
  if (magic !== "l1sm") throw new Error("not a frame of l1scout");
  const length = bytes.getUint32(4, true), start = 8 + length;
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const arrays = new Map();
  for (const [name, kind, offset, size] of head.arrays) {
    const type = kind === "f8" ? Float64Array : Uint32Array;
    arrays.set(name, new type(buffer, start + offset, size));
  }
  delete head.arrays;
  return { head, arrays };
}

export async function fetchFrame(query) {
  const answer = await fetch("/api/frame?" + new URLSearchParams(query));
  if (!answer.ok) throw new Error((await answer.json()).error);
  return unpack(await answer.arrayBuffer());
}

const described = new Map();
export async function describe(stream) {
  if (!described.has(stream)) {
    const answer = await fetch("/api/definitions?" + new URLSearchParams({ stream }));
    if (!answer.ok) throw new Error((await answer.json()).error);
    described.set(stream, await answer.json());
  }
  return described.get(stream);
}

// A connection that comes back: `onFrame` gets every frame, `onState` "live" or "away".
export class Connection {
  constructor(onFrame, onState) {
    this.onFrame = onFrame;
    this.onState = onState;
    this.query = null;
  }

  watch(query) {
    const text = new URLSearchParams(query).toString();
    if (text === this.query) return;
    this.query = text;
    // one that is still connecting closes itself when it is open: else browsers report an error
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.close();
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = this.query;
    const socket = new WebSocket(`${scheme}://${location.host}/live?${query}`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (socket !== this.socket) socket.close();
      else this.wait = 500;
    };
    socket.onmessage = (event) => {
      if (socket !== this.socket) return;
      this.onState("live");
      this.onFrame(unpack(event.data));
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.onState("away");
      this.wait = Math.min((this.wait || 500) * 1.5, 5000);
      this.timer = setTimeout(() => this.open(), this.wait);
    };
  }
}
