//! Half precision, to double and back.

/// Value of a half.
pub(super) fn to_f64(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match (bits >> 10) & 0x1f {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1024.0 + fraction) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The nearest half; ties to even.
pub(super) fn from_f64(value: f64) -> u16 {
    let sign = u16::from(value.is_sign_negative()) << 15;
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return 0x7fff;
    }
    // Half way between the largest half and what would follow it; the tie goes to the even one, which is infinity.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(-14);
    // Units in the last place: exact, because the scale is a power of two.
    let units = (magnitude * 2f64.powi(10 - exponent)).round_ties_even() as u16;
    // A normal number has its leading unit in the exponent's lowest bit already.
    sign | (((exponent + 14) as u16) << 10).wrapping_add(units)
}
