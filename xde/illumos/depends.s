/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Modules that must be loaded before this one: SHT_DYNAMIC with DT_NEEDED entries, as the loader reads them. */
	.section .note.GNU-stack,"",@progbits
	.section .dynstr,"",@3
	.byte 0
.Ldld:	.string "drv/dld"
.Lip:	.string "drv/ip"
.Ldls:	.string "misc/dls"
.Lmac:	.string "misc/mac"

	.section .dynamic,"",@6
	.quad 1, .Ldld - .Ldld + 1
	.quad 1, .Lip - .Ldld + 1
	.quad 1, .Ldls - .Ldld + 1
	.quad 1, .Lmac - .Ldld + 1
	.quad 0, 0
