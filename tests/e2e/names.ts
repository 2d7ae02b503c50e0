// Names that ssh passes to a shell as %h: ordinary addresses, and hostile ones.

export const ordinary = [
  ...["unix/run/a.sock", "unix%run%a.sock", "unix%/run/A-b_c+1.sock", "unix/a,b=c~d^e", ".host"],
  ...["vsock/3", "vsock%3", "vsock-mux/a:4711", "unix-abstract/a.b"],
  ...["machine/.host", "machine/a-1", "machine%A_1", "qemu/a.b", "qemu%A"],
  ...["qemu:system/A", "qemu:system%a", "qemu:session/a", "qemu:session%A"],
];

/** Refused by the fragment; a `"` only by OpenSSH from 8.7 on. */
export const refused = Array.from("'$`;&|<>()[]{}!\\ \t");

const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
const characters = printable
  .filter((c) => !/[\w@]/.test(c))
  .concat(Array.from("\t\n\r\v\f\x01\x1b\x7f"));

/** `pwn` is a command in PATH that makes a file, as each redirection does. */
export const commands = [
  ...[";", "&", "|", "\n", "\r", "\v", "&&", "||", "|&", " ; "].map((c) => `${c}pwn${c}`),
  ...["$(pwn)", "`pwn`", "<(pwn)", ">(pwn)", "(pwn)", "=(pwn)", "{pwn,}", "${x:-$(pwn)}"],
  ...[">pwned", "&>pwned", "<>pwned", " >pwned ", "*(e:pwn:)", "!pwn", "#\npwn", "\\\npwn\n"],
  ...["$(pwn)", "`pwn`", ";pwn;", "\npwn\n", ">pwned ", "*\npwn"].flatMap((c) =>
    ["'", '"', "\\'"].map((quote) => `${quote}${c}${quote}`),
  ),
];
/** No pattern can have a line end. */
export const hasLineEnd = (name: string): boolean => name.includes("\n");
export const hostile = [...characters.map((c) => `${c}y`), ...commands].map((c) => `unix/x${c}`);
