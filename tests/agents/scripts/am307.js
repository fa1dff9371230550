// Indoor air sensor: records of channel, type and a little-endian value.
function decodeUplink({bytes}) {
  const data = {};
  const view = new DataView(new Uint8Array(bytes).buffer);
  for (let at = 0; at + 2 < bytes.length;) {
    const tag = bytes[at] * 256 + bytes[at + 1];
    at += 2;
    switch (tag) {
      case 0x0367: data.temperature = view.getInt16(at, true) / 10; at += 2; break;
      case 0x0468: data.humidity = bytes[at] / 2; at += 1; break;
      case 0x0500: data.pir = bytes[at] === 1 ? "trigger" : "idle"; at += 1; break;
      case 0x06cb: data.light_level = bytes[at]; at += 1; break;
      case 0x077d: data.co2 = view.getUint16(at, true); at += 2; break;
      case 0x087d: data.tvoc = view.getUint16(at, true) / 100; at += 2; break;
      case 0x0973: data.pressure = view.getUint16(at, true) / 10; at += 2; break;
      default: return {errors: [`unknown record ${tag.toString(16)}`]};
    }
  }
  return {data};
}
