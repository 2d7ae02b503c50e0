// The two services that know machines, each with one machine and one reply for it.

#ifndef BENCH_SERVICES_H_
#define BENCH_SERVICES_H_

/**
 * Answers as systemd-machined about a container of systemd-nspawn's, once, whatever the request is.
 * Returns when the other end is closed.
 */
void serve_machined(int fd);

/**
 * Answers as libvirtd, with a domain that is on and has a CID. Returns when the other end is closed; ends
 * the program if a procedure is called that it does not have.
 */
void serve_libvirt(int fd);

#endif
