"""How layers are fast on CPUs: variants, and the pieces that they are made of.

Convolution and dense layers
    gemm_microkernel    the register tile of sums, written as LLVM vectors (llvm_vectors)
    implicit_gemm       packing, and products straight from the padded image
    conv_direct         variants ``direct`` and ``direct_strided``, by implicit GEMM
    conv_depthwise      variant ``depthwise``: a filter for each channel, in vector loops over channels
    winograd_forms, winograd_transforms, winograd, conv_winograd
                        variants ``winograd``: F(4x4, 3x3), ``winograd_5x5``: F(5x5, 3x3), ``winograd_of_5``:
                        F(3x3, 5x5), ``winograd_4x4_of_5``: F(4x4, 5x5), and ``winograd_strided``: windows of
                        3 x 3 cells of pixels; each also as ``*_one_image``, cut by filters
    im2col, conv_gemm, conv_transpose_gemm
                        variant ``gemm``: patches laid out, products by BLAS
    dense_gemm          variant ``gemm``: products by BLAS
    dense_gemv          variant ``gemv``: weights streamed once, for a few rows
    bf16_microkernel    the register tile of bfloat16 factors, by AVX512-BF16 (bf16_vectors)
    bf16_products       packing in pairs of terms, and products
    bf16_conv, bf16_dense
                        variants ``bf16`` of arrays that are stored as bfloat16, and ``bf16_gemv``, for a few rows
    bias_row, split_batch
                        what accumulators start from; reductions over the batch
    bf16_panels, bf16_words
                        variants ``bf16_panels`` and, of float32, ``bf16_weights``: predictions of a few images by
                        weights in bfloat16, whatever the CPU multiplies
Others
    pool_rows           variants ``rows`` and, of bfloat16, ``stored_rows`` of pool: pixels side by side in registers
    pool_vectors        variant ``vectors`` of pool: channels' maxima or sums in registers, window by window
                        (pool_windows)
    lrn_rows            variants of lrn: ``rows``, loops over padded rows of channels, and ``vectors``, for the usual
                        window and exponent, written as LLVM vectors (lrn_vectors)
    lrn_of_five         variant ``of_five`` of lrn, of bfloat16: no divisions (inverse_root)
"""
