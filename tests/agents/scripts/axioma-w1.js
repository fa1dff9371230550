// Water meter: the volume at a moment and 23 increments of 14 bits after it.
module.exports = {
  decodeUplink({bytes}) {
    const u32 = at => (bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24) >>> 0;
    const litres = u32(6);
    const deltas = [];
    for (let index = 0; index < 23; index++) {
      let value = 0;
      for (let bit = 0; bit < 14; bit++) {
        const place = index * 14 + bit;
        value |= (bytes[10 + (place >> 3)] >> (place & 7) & 1) << bit;
      }
      deltas.push(value);
    }
    const sum = deltas.reduce((total, delta) => total + delta, 0);
    const time = new Date(u32(1) * 1000).toISOString().replace(".000Z", "Z");
    return {
      data: {
        time,
        status: bytes[5],
        volume_m3: litres / 1000,
        history_total_m3: sum / 1000,
        current_m3: (litres + sum) / 1000,
        deltas_litre: deltas,
      },
    };
  },
};
