// The ways in which a guest's sshd comes to listen, each as docs/guests.md has it: a script that root runs
// in the guest, and an address that then logs in.

export interface Way {
  title: string;
  /** For `sh -e`. */
  script: string;
  /** As typed in the guest; or, with `outside`, the port of the multiplexer that is asked for. */
  address: string | { outside: number };
  /** Stops it again. */
  end: string;
}

export const ways: readonly Way[] = [
  {
    title: "socat, without systemd",
    script: `mkdir -p /run/sshd
setsid socat VSOCK-LISTEN:2201,fork EXEC:'/usr/sbin/sshd -i',nofork >/dev/null 2>&1 &
echo $! >/run/socat.pid`,
    address: { outside: 2201 },
    end: "kill $(cat /run/socat.pid)",
  },
];
