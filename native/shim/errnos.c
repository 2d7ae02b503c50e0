#include "errnos.h"

#include <errno.h>

#include "internal.h"

uint32_t shim_errno(int error) {
    switch (error) {
        case 0:
            return SHIM_SUCCESS;
#define CASE(name, number, linux) \
    case linux:                   \
        return number;
            ERRNOS(CASE)
#undef CASE
        case ESOCKTNOSUPPORT:
            return SHIM_PROTOTYPE;
        case EHOSTDOWN:
            return SHIM_HOSTUNREACH;
        default:
            return SHIM_IO;
    }
}
