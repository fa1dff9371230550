// People counter in the form of ChirpStack v3; its mask is big-endian, the counters are not.
function Decode(fPort, bytes) {
  const buffer = Buffer.from(bytes);
  const data = {};
  for (let at = 0; at < bytes.length;) {
    const tag = buffer.readUInt16BE(at);
    at += 2;
    if (tag === 0x04c9) {
      data.people_count_all = buffer[at];
      data.region_count = buffer[at + 1];
      data.region_mask = buffer.readUInt16BE(at + 2);
      at += 4;
    } else if (tag === 0x05cc) {
      data.people_in = buffer.readInt16LE(at);
      data.people_out = buffer.readInt16LE(at + 2);
      at += 4;
    } else if (tag === 0x06cd) {
      data.people_count_max = buffer[at];
      at += 1;
    } else {
      throw new Error("unknown record " + tag.toString(16));
    }
  }
  return data;
}
