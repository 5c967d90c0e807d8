// Numbers as people read them.

/** Calls per second. */
export function perSecond(value) {
  if (!value) return "0/s";
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")}/s`;
}

/** A share of calls; nothing without any. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  // 99.996 % is not 100 %: something failed.
  return share < 1 && value >= 99.95 ? ">99.9 %" : `${value >= 99.95 ? 100 : value.toFixed(1)} %`;
}

/** A time given in seconds. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(seconds < 0.1 ? 2 : 3)} ms`;
  return `${seconds.toPrecision(3)} s`;
}

/** How long ago, in the largest unit. */
export function age(started, now) {
  if (!started) return "–";
  const seconds = Math.max(0, Math.floor(now - started));
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60]])
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${seconds} s`;
}

/** What the rate of an edge or a method says in a few words. */
export function inWords(rate) {
  return `${perSecond(rate.calls)}, ${percent(rate.success)} succeed, p99 ${duration(rate.p99)}`;
}
