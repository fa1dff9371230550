// Water meter: a header byte and M-Bus records, each known by its first bytes.
const two = number => String(number).padStart(2, "0");

// Date and time of M-Bus type F: minute, hour, day with year, month with year.
function moment(at, bytes) {
  const [minute, hour, day, month] = bytes.slice(at, at + 4);
  const year = 2000 + (day >> 5 | (month & 0xf0) >> 1);
  return `${year}-${two(month & 15)}-${two(day & 31)}T${two(hour & 31)}:${two(minute & 63)}`;
}

const RECORDS = {
  "446d": [4, (at, bytes, data) => { data.time_local = moment(at, bytes); }],
  "4413": [4, (at, bytes, data) => { data.volume_m3 = Buffer.from(bytes).readUInt32LE(at) / 1000; }],
  "52ff25": [2, (at, bytes, data) => { data.info_bits = Buffer.from(bytes).readUInt16LE(at); }],
  "42ff1c": [2, (at, bytes, data) => { data.acoustic_leak = Buffer.from(bytes).readUInt16LE(at); }],
  "623b": [2, () => {}],
  "523b": [2, () => {}],
  "615b": [1, () => {}],
  "515b": [1, () => {}],
};

function decodeUplink({bytes}) {
  const data = {};
  const hex = Buffer.from(bytes).toString("hex");
  for (let at = 1; at < bytes.length;) {
    const tag = Object.keys(RECORDS).find(each => hex.startsWith(each, at * 2));
    if (!tag) return {errors: [`unknown record at byte ${at}`]};
    at += tag.length / 2;
    RECORDS[tag][1](at, bytes, data);
    at += RECORDS[tag][0];
  }
  return {data};
}
