// Distance sensor in the form of The Things Network v2.
function Decoder(bytes, port) {
  if (port !== 2) throw new Error("no frame on port " + port);
  var signed = (bytes[5] << 24 >> 16) | bytes[6];
  return {
    battery_voltage: ((bytes[0] << 8 | bytes[1]) & 0x3fff) / 1000,
    distance: bytes[2] << 8 | bytes[3],
    interrupt: bytes[4],
    temperature_ds18b20: signed / 10,
    sensor_present: bytes[7]
  };
}
