/* Training written by hand in C: all epochs in one call, the mean loss of each epoch in `losses`. */

#include <math.h>

/* Two inputs, two linear units, one linear output, squared error, one sample a step. */
void linear_2_2_1(double *w1, double *b1, double *w2, double *b2, const double *x, const double *t,
                  long samples, long epochs, double lr, double *losses) {
    double w00 = w1[0], w01 = w1[1], w10 = w1[2], w11 = w1[3], b10 = b1[0], b11 = b1[1];
    double v0 = w2[0], v1 = w2[1], c = b2[0];
    for (long epoch = 0; epoch < epochs; epoch++) {
        double total = 0;
        for (long i = 0; i < samples; i++) {
            const double x0 = x[2 * i], x1 = x[2 * i + 1];
            const double a0 = x0 * w00 + x1 * w10 + b10, a1 = x0 * w01 + x1 * w11 + b11;
            const double error = a0 * v0 + a1 * v1 + c - t[i];
            const double d = lr * 2 * error, d0 = d * v0, d1 = d * v1;
            total += error * error;
            v0 -= d * a0;
            v1 -= d * a1;
            c -= d;
            w00 -= d0 * x0;
            w01 -= d1 * x0;
            w10 -= d0 * x1;
            w11 -= d1 * x1;
            b10 -= d0;
            b11 -= d1;
        }
        losses[epoch] = total / samples;
    }
    w1[0] = w00, w1[1] = w01, w1[2] = w10, w1[3] = w11, b1[0] = b10, b1[1] = b11;
    w2[0] = v0, w2[1] = v1, b2[0] = c;
}

enum { UNITS = 16 };

/* Two inputs, sixteen tanh units, one linear output, mean squared error over batches of `batch`. */
void tanh_2_16_1(double *restrict w1, double *restrict b1, double *restrict w2, double *restrict b2, const double *restrict x,
                 const double *restrict t, long samples, long batch, long epochs, double lr, double *restrict losses) {
    for (long epoch = 0; epoch < epochs; epoch++) {
        double total = 0;
        for (long first = 0; first < samples; first += batch) {
            double g0[UNITS] = {0}, g1[UNITS] = {0}, gb[UNITS] = {0}, gv[UNITS] = {0}, gc = 0, cost = 0;
            for (long i = first; i < first + batch; i++) {
                double a[UNITS], y = b2[0];
                for (int j = 0; j < UNITS; j++) a[j] = tanh(x[2 * i] * w1[j] + x[2 * i + 1] * w1[UNITS + j] + b1[j]);
                for (int j = 0; j < UNITS; j++) y += a[j] * w2[j];
                const double error = y - t[i], d = 2 * error / batch;
                cost += error * error;
                gc += d;
                for (int j = 0; j < UNITS; j++) {
                    const double dj = d * w2[j] * (1 - a[j] * a[j]);
                    gv[j] += d * a[j];
                    gb[j] += dj;
                    g0[j] += dj * x[2 * i];
                    g1[j] += dj * x[2 * i + 1];
                }
            }
            b2[0] -= lr * gc;
            for (int j = 0; j < UNITS; j++) {
                w2[j] -= lr * gv[j];
                b1[j] -= lr * gb[j];
                w1[j] -= lr * g0[j];
                w1[UNITS + j] -= lr * g1[j];
            }
            total += cost / batch;
        }
        losses[epoch] = total * batch / samples;
    }
}
